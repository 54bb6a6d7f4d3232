# SPDX-License-Identifier: Apache-2.0
"""GRUB's environment block: 1024 bytes of lines, changed so that one sector decides.

Source: GRUB 2.06, include/grub/lib/envblk.h (the signature), grub-core/lib/envblk.c (lines,
escapes, fill) and util/grub-editenv.c (the length).

    # GRUB Environment Block
    ORDER=B A               ours: always in the same place, within the first 512 bytes
    A_OK=1
    ...
    ######                  a comment that keeps what follows in its place
    saved_entry=0           other programs' variables, byte for byte as they were
    ##############...       fill to 1024 bytes, without a newline

GRUB writes the block in place, sector by sector, and there is no checksum: a power cut may leave
one sector new and the other old. Ours stand in the first one, and what stands in the second one
does not move when ours change; so the change is there or it is not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from boot.errors import BootloaderMissing, BootSettingInvalid, EnvironmentInvalid
from boot.storage import overwrite, read_at

SIGNATURE = b"# GRUB Environment Block\n"
LENGTH = 1024
SECTOR = 512
"""Bytes that a medium writes whole or not at all; media with larger sectors only do better."""

REPAIR = "write it anew: `boot.grub.create_environment`, or from a provisioned system"


@dataclass(frozen=True, slots=True)
class Block:
    """The lines behind the signature.

    Attributes:
        lines: with their newlines; comments, variables and all, without the fill.
    """

    lines: tuple[bytes, ...]

    @classmethod
    def parse(cls, data: bytes, path: Path) -> Block:
        """Read a block strictly: what GRUB would stumble over is not believed.

        Raises:
            EnvironmentInvalid: this is no environment block.
        """
        if len(data) != LENGTH:
            raise _invalid(path, f"{len(data)} bytes instead of {LENGTH}")
        if not data.startswith(SIGNATURE):
            raise _invalid(path, "it does not begin with GRUB's signature")
        lines, start = [], len(SIGNATURE)
        while start < LENGTH:
            end = _line_end(data, start)
            line = data[start:end]
            if not line.endswith(b"\n"):
                if line.strip(b"#"):
                    raise _invalid(path, f"the line at byte {start} has no end")
                break
            if not line.startswith(b"#") and b"=" not in line.split(b"\n")[0]:
                # GRUB would take the name from here to the next `=`, over the ends of lines.
                raise _invalid(path, f"the line at byte {start} is no variable")
            lines.append(line)
            start = end
        return cls(tuple(lines))

    def variables(self) -> dict[str, str]:
        """Return the variables; of equal names the last one, as `load_env` leaves it."""
        found = {}
        for line in self.lines:
            if not line.startswith(b"#"):
                name, _, value = line[:-1].partition(b"=")
                found[_text(name)] = _unescaped(_text(value))
        return found

    def first_sector_holds(self, names: set[str]) -> bool:
        """Tell whether all lines of these variables end within the first 512 bytes."""
        end = len(SIGNATURE)
        for line in self.lines:
            end += len(line)
            if end > SECTOR and _name(line) in names:
                return False
        return True

    def with_first(self, ours: Mapping[str, str], region: int) -> bytes:
        """Return the 1024 bytes with our variables first, in `region` bytes; all others are kept.

        Raises:
            EnvironmentInvalid: other programs' variables do not fit beside ours.
        """
        head = b"".join(f"{name}={value}\n".encode() for name, value in ours.items())
        if len(head) < region:
            head += b"#" * (region - len(head) - 1) + b"\n"
        rest = b"".join(
            line for line in self.lines if _name(line) not in ours and line.strip(b"#\n")
        )
        block = SIGNATURE + head + rest
        if len(block) > LENGTH:
            raise EnvironmentInvalid(
                f"{len(rest)} bytes of other variables leave no room for {region} bytes of ours",
                hint="remove some with `grub-editenv unset`",
            )
        return block + b"#" * (LENGTH - len(block))


def region_length(longest: Mapping[str, str]) -> int:
    """Return the bytes that our variables take when each has its longest value.

    Raises:
        BootSettingInvalid: they do not fit the first sector.
    """
    length = sum(len(f"{name}={value}\n") for name, value in longest.items())
    if len(SIGNATURE) + length > SECTOR:
        raise BootSettingInvalid(
            f"{length} bytes of variables do not fit the first {SECTOR} bytes of grubenv",
            hint="take fewer slots or shorter names",
        )
    return length


def read_block(path: Path) -> tuple[bytes, Block]:
    """Return the bytes of the environment and what stands in them.

    Raises:
        EnvironmentInvalid: it is damaged or missing.
        BootloaderMissing: not even its folder is there.
        EnvironmentFault: it cannot be read.
    """
    try:
        data = read_at(path, 0, LENGTH + 1)
    except BootloaderMissing as error:
        if not path.parent.is_dir():
            raise
        raise _invalid(path, "there is no such file") from error
    return data, Block.parse(data, path)


def write_block(path: Path, old: bytes, new: bytes) -> None:
    """Write those sectors that differ, the first one first, each flushed; nothing if none does."""
    for at in range(0, LENGTH, SECTOR):
        if new[at : at + SECTOR] != old[at : at + SECTOR]:
            overwrite(path, at, new[at : at + SECTOR])


def _line_end(data: bytes, at: int) -> int:
    """Return where the next line begins; a backslash takes the byte behind it along."""
    while at < len(data):
        if data[at] == 0x5C:
            at += 2
        elif data[at] == 0x0A:
            return at + 1
        else:
            at += 1
    return len(data)


def _name(line: bytes) -> str | None:
    return None if line.startswith(b"#") else _text(line.partition(b"=")[0])


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _unescaped(text: str) -> str:
    characters = iter(text)
    return "".join(next(characters, "") if char == "\\" else char for char in characters)


def _invalid(path: Path, why: str) -> EnvironmentInvalid:
    return EnvironmentInvalid(f"{path}: {why}", hint=REPAIR)

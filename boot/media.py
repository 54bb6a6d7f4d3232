# SPDX-License-Identifier: Apache-2.0
"""Where one copy of an environment is, and files and block devices as such a place.

Raw flash and UBI volumes are in `boot/flash.py`. Which way a medium marks the newer of two copies:
U-Boot tools/env/fw_env.c, `environment.flag_scheme`.
"""

from __future__ import annotations

import enum
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from boot.errors import EnvironmentFault
from boot.storage import os_errors, overwrite, read_at, replace_file

SECTOR = 512
"""Bytes that a block device writes whole or not at all; devices with larger sectors do as well."""

SYS_BLOCK = Path("/sys/class/block")
MOUNTS = Path("/proc/self/mountinfo")


class Scheme(enum.Enum):
    """How the flags byte of two copies tells which one is in force."""

    SERIAL = "serial"  # one more at every write, 255 is followed by 0
    ACTIVE = "active"  # 1 in force, 0 obsolete: flash can clear bits without an erase


@dataclass(frozen=True, slots=True)
class Location:
    """Where a copy is; one line of fw_env.config.

    Attributes:
        device: a file, block device, /dev/mtdN or /dev/ubiX_Y.
        offset: in bytes; negative: from the end.
        size: of the environment, header included.
        sector_size: of an eraseblock; 0: ask the device.
        sectors: eraseblocks that may be used, for NAND with bad ones; 0: as many as `size` needs.
    """

    device: Path
    offset: int
    size: int
    sector_size: int = 0
    sectors: int = 0


class Medium(Protocol):
    """One copy's place."""

    location: Location
    scheme: Scheme

    def read(self) -> bytes:
        """Return the copy; fewer bytes than its size where the medium ends or refuses it."""

    def write(self, data: bytes) -> None:
        """Write a whole copy, durably."""

    def clear_byte(self, at: int) -> None:
        """Set one byte of the copy to 0, durably, without an erase."""


class Plain:
    """A file or block device."""

    scheme = Scheme.SERIAL

    def __init__(self, location: Location) -> None:
        self.location = location

    @property
    def whole_file_on_fat(self) -> bool:
        """Whether the copy is all of a file on FAT: a rename replaces it, for U-Boot as well."""
        with os_errors(self.location.device):
            info = self.location.device.stat()
        if not stat.S_ISREG(info.st_mode) or self.location.offset:
            return False
        return info.st_size == self.location.size and _file_system(info.st_dev) in ("vfat", "msdos")

    def read(self) -> bytes:
        """See `Medium`."""
        return read_at(self.location.device, self.location.offset, self.location.size)

    def write(self, data: bytes) -> None:
        """See `Medium`. What did not change is not written: often that leaves one sector."""
        if self.whole_file_on_fat:
            replace_file(self.location.device, data)
            return
        old = self.read()
        if len(old) < len(data):
            raise EnvironmentFault(f"{self.location.device}: ends within the environment")
        span = changed_sectors(old, data)
        with _writable(self.location.device):
            overwrite(
                self.location.device,
                self.location.offset + span.start,
                data[span.start : span.stop],
            )

    def clear_byte(self, at: int) -> None:
        """See `Medium`."""
        overwrite(self.location.device, self.location.offset + at, b"\0")


def changed_sectors(old: bytes, new: bytes) -> range:
    """Return the bytes from the first sector that differs to the end of the last one."""
    starts = [
        at for at in range(0, len(new), SECTOR) if old[at : at + SECTOR] != new[at : at + SECTOR]
    ]
    return range(starts[0], min(starts[-1] + SECTOR, len(new))) if starts else range(0)


def _file_system(device: int) -> str | None:
    """Return the type of the file system that is mounted from a device number."""
    number = f"{os.major(device)}:{os.minor(device)}"
    for line in read_at(MOUNTS, 0, 1 << 20).decode("utf-8", "surrogateescape").splitlines():
        fields = line.split()
        if len(fields) > 6 and fields[2] == number and "-" in fields:
            return fields[fields.index("-") + 1]
    return None


@contextmanager
def _writable(device: Path) -> Iterator[None]:
    """Lift the write protection that Linux puts on eMMC boot partitions, for the while."""
    name = device.resolve().name
    switch = SYS_BLOCK / name / "force_ro"
    if not re.fullmatch(r"mmcblk\d+boot\d+", name) or not switch.exists():
        yield
        return
    before = read_at(switch, 0, 8).strip()
    with os_errors(switch):
        switch.write_text("0\n")
    try:
        yield
    finally:
        with os_errors(switch):
            switch.write_bytes(before + b"\n")

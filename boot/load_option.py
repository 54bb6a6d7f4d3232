# SPDX-License-Identifier: Apache-2.0
"""A `Boot####` variable: what the firmware's boot manager starts.

Source: UEFI specification 2.10, section 3.1.3 (EFI_LOAD_OPTION) and 10.3 (device paths):

    u32 attributes | u16 length of the path | description, UTF-16 NUL | path | optional data

The path that we write has a hard drive node (10.3.5.1), which finds the partition by its GUID on
whatever disk it is, a file node (10.3.5.4) and the end (10.3.1). A kernel with an EFI stub takes
the optional data, UTF-16, as its command line.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from uuid import UUID

from boot.efivars import decoded, encoded

ACTIVE = 0x01
"""LOAD_OPTION_ACTIVE: without it, the boot manager does not start the entry by itself."""
END = bytes((0x7F, 0xFF, 0x04, 0x00))
_HARD_DRIVE = (0x04, 0x01)
_FILE = (0x04, 0x04)
_GPT = 0x02


@dataclass(frozen=True, slots=True)
class Partition:
    """Where the file is: an entry of a GPT.

    Attributes:
        number: from 1.
        first_lba, lba_count: in sectors of the disk.
    """

    number: int
    first_lba: int
    lba_count: int
    guid: UUID


@dataclass(frozen=True, slots=True)
class LoadOption:
    """One entry of the boot manager.

    Attributes:
        file: with backslashes; None where the path names none.
        partition: None where the path names none, or one that is not in a GPT.
        data: as it stands there; a kernel's command line in UTF-16, for instance.
    """

    description: str
    active: bool
    file: str | None
    partition: Partition | None
    data: bytes

    @property
    def command_line(self) -> str | None:
        """What a kernel with an EFI stub takes as its command line; None if there is none."""
        return decoded(self.data) if self.data else None


def parse(value: bytes) -> LoadOption | None:
    """Return what stands in a variable; None if it is no load option."""
    if len(value) < 8:
        return None
    attributes, path_length = struct.unpack_from("<IH", value)
    end = 6
    while value[end : end + 2] != b"\0\0":
        end += 2
        if end + 2 > len(value):
            return None
    description = decoded(value[6:end])
    path_end = end + 2 + path_length
    if description is None or path_end > len(value):
        return None
    nodes = _nodes(value[end + 2 : path_end])
    if nodes is None:
        return None
    file, partition = None, None
    for kind, body in nodes:
        if kind == _HARD_DRIVE and len(body) == 38 and body[37] == _GPT:
            number, first, count = struct.unpack_from("<IQQ", body)
            partition = Partition(number, first, count, UUID(bytes_le=body[20:36]))
        elif kind == _FILE:
            file = decoded(body)
    return LoadOption(description, bool(attributes & ACTIVE), file, partition, value[path_end:])


def build(
    description: str, file: str, partition: Partition, command_line: str | None = None
) -> bytes:
    """Return the value of a `Boot####` variable that is active."""
    drive = struct.pack(
        "<IQQ16sBB",
        partition.number,
        partition.first_lba,
        partition.lba_count,
        partition.guid.bytes_le,
        0x02,  # GPT
        0x02,  # the signature is a GUID
    )
    path = _node(_HARD_DRIVE, drive) + _node(_FILE, encoded(file.replace("/", "\\"))) + END
    data = b"" if command_line is None else encoded(command_line)
    return struct.pack("<IH", ACTIVE, len(path)) + encoded(description) + path + data


def _node(kind: tuple[int, int], body: bytes) -> bytes:
    return struct.pack("<BBH", *kind, 4 + len(body)) + body


def _nodes(path: bytes) -> list[tuple[tuple[int, int], bytes]] | None:
    """Return the nodes up to the end of the whole path; None if they are not well-formed."""
    found: list[tuple[tuple[int, int], bytes]] = []
    at = 0
    while at + 4 <= len(path):
        kind, subkind, length = struct.unpack_from("<BBH", path, at)
        if length < 4 or at + length > len(path):
            return None
        if (kind, subkind) == (0x7F, 0xFF):
            return found
        found.append(((kind, subkind), path[at + 4 : at + length]))
        at += length
    return None

# SPDX-License-Identifier: Apache-2.0
"""MBR partition table (blkid calls it `dos`).

Source: UEFI specification 2.10, section 5.2.1 (legacy MBR) and 5.2.3 (protective MBR): four entries
of 16 bytes at byte 446, 0x55AA at byte 510, disk signature at byte 440. Units are logical sectors;
a file has no sector size, so 512 is taken there.

The two signature bytes stand in every boot sector, so the table itself is the evidence: each
entry is all zero, or has a known status byte, a type and a non-empty range, and no two ranges
overlap. Boot code in those 64 bytes never passes.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from itertools import pairwise

from fsprobe.device import Device
from fsprobe.superblock import Superblock

TABLE = 446
SIGNATURE = b"\x55\xaa"
PROTECTIVE = 0xEE


@dataclass(frozen=True, slots=True)
class Partition:
    """One used entry: type byte, first sector, number of sectors."""

    kind: int
    start: int
    count: int

    @property
    def end(self) -> int:
        """First sector after the partition."""
        return self.start + self.count


def partitions(sector: bytes) -> tuple[Partition, ...]:
    """Return the used entries of a boot sector; none unless the whole table is plausible."""
    if len(sector) < 512 or sector[510:512] != SIGNATURE:
        return ()
    used = []
    for at in range(TABLE, 510, 16):
        entry = sector[at : at + 16]
        if not any(entry):
            continue
        start, count = struct.unpack_from("<II", entry, 8)
        if entry[0] not in (0x00, 0x80) or entry[4] == 0 or count == 0:
            return ()
        used.append(Partition(entry[4], start, count))
    in_order = sorted(used, key=lambda partition: partition.start)
    for before, after in pairwise(in_order):
        if before.end > after.start:
            return ()
    return tuple(used)


def divides_the_disk(sector: bytes) -> bool:
    """Tell whether this boot sector holds a table of partitions that all start after it.

    A table whose partition starts at sector 0 is a file system's own (mkfs.fat --mbr writes one
    so that Windows accepts a disk without partitions) and divides nothing.
    """
    used = partitions(sector)
    return bool(used) and all(partition.start > 0 for partition in used)


def probe(device: Device) -> Superblock | None:
    """Length: the end of the last partition, in sectors of the device (512 in a file).

    An extended partition covers its logical ones, so their chain need not be walked. A protective
    MBR without a GPT says nothing of the length and is told as `PMBR`, as blkid does.
    """
    sector = device.read(0, 512)
    if not divides_the_disk(sector):
        return None
    used = partitions(sector)
    uuid = f"{int.from_bytes(sector[440:444], 'little'):08x}" if any(sector[440:444]) else None
    if any(partition.kind == PROTECTIVE for partition in used):
        if any(device.read(at, 8) == b"EFI PART" for at in (512, 4096)):
            return None  # gpt.py answers for it
        return Superblock(kind="PMBR", length=None, uuid=uuid, weak=True)
    size = device.sector_size or 512
    return Superblock(
        kind="dos",
        length=max(partition.end for partition in used) * size,
        block_size=size,
        uuid=uuid,
        weak=True,
    )

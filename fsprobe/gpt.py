# SPDX-License-Identifier: Apache-2.0
"""GPT partition table.

Source: UEFI specification 2.10, section 5.3.2 (GPT header, table 5.5): the primary header is in
sector 1, so its place tells the sector size; CRC-32 of the header and of the entries; the backup
header is in the sector that the primary names, the last one of the disk.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from uuid import UUID

from fsprobe import mbr
from fsprobe.device import Device
from fsprobe.errors import ProbeError
from fsprobe.superblock import Superblock

MAGIC = b"EFI PART"
SECTOR_SIZES = (512, 4096)
HEADER_SIZE = 92
ENTRIES_LIMIT = 256 << 10
"""Bytes of entries; the usual table has 16 KiB."""


@dataclass(frozen=True, slots=True)
class _Header:
    """One header whose checksums are right. Positions are sectors."""

    sector_size: int
    own: int
    alternate: int
    guid: bytes
    revision: int
    entries: bytes
    entry_size: int


def probe(device: Device) -> Superblock | None:
    """Length: through the backup header, where the primary header says it is.

    Where the primary is damaged, the backup in the last sector answers, as it does for the kernel.

    Raises:
        ProbeError: a header without a right checksum, and no backup.
    """
    sizes = [size for size in SECTOR_SIZES if device.read(size, 8) == MAGIC]
    for size in sizes:
        header = _read(device, size, 1)
        if header is not None:
            if header.alternate <= 1:
                raise ProbeError("corrupt", "gpt", f"backup header in sector {header.alternate}")
            return _superblock(header, header.alternate)
    protective = any(
        partition.kind == mbr.PROTECTIVE for partition in mbr.partitions(device.read(0, 512))
    )
    if not sizes and not protective:
        return None  # a backup alone may be left from an older life of the disk
    for size in SECTOR_SIZES:
        last = device.length // size - 1
        if last > 1 and (header := _read(device, size, last)) is not None:
            return _superblock(header, last)
    if not sizes:
        return None
    raise ProbeError("corrupt", "gpt", "the checksums are wrong and there is no backup header")


def partitions(device: Device) -> tuple[range, ...]:
    """Return the byte ranges of the partitions that an undamaged primary table lists."""
    found = []
    for size in SECTOR_SIZES:
        header = _read(device, size, 1)
        if header is None:
            continue
        for at in range(0, len(header.entries), header.entry_size):
            first, last = struct.unpack_from("<QQ", header.entries, at + 32)
            if any(header.entries[at : at + 16]):
                found.append(range(first * size, (last + 1) * size))
    return tuple(found)


def _superblock(header: _Header, last: int) -> Superblock:
    return Superblock(
        kind="gpt",
        length=(last + 1) * header.sector_size,
        block_size=header.sector_size,
        uuid=str(UUID(bytes_le=header.guid)) if any(header.guid) else None,
        version=f"{header.revision >> 16}.{header.revision & 0xFFFF}",
    )


def _read(device: Device, sector_size: int, sector: int) -> _Header | None:
    """Read the header in one sector; None unless its checksums and its own position are right."""
    raw = device.read(sector * sector_size, sector_size)
    if len(raw) < sector_size or raw[:8] != MAGIC:
        return None
    revision, length, checksum, _, own, alternate = struct.unpack_from("<IIIIQQ", raw, 8)
    entries_at, count, entry_size, entries_checksum = struct.unpack_from("<QIII", raw, 72)
    if not HEADER_SIZE <= length <= sector_size or own != sector:
        return None
    if zlib.crc32(raw[:16] + bytes(4) + raw[20:length]) != checksum:
        return None
    if entry_size < 128 or count * entry_size > ENTRIES_LIMIT:
        return None
    entries = device.read(entries_at * sector_size, count * entry_size)
    if zlib.crc32(entries) != entries_checksum:
        return None
    return _Header(sector_size, own, alternate, raw[56:72], revision, entries, entry_size)

# SPDX-License-Identifier: Apache-2.0
"""The partitions that a disk's own table lists: where the kernel does not tell enough.

GPT is read here (UEFI specification 2.10, section 5.3): the kernel tells no PARTUUID before Linux
6.10, and libparted tells none at all. Other tables are libparted's, where pyparted is installed;
without it, the four primary partitions of an MBR are all that is known. Nothing is written.
"""

from __future__ import annotations

import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from fsprobe import mbr
from fsprobe.device import Device
from fsprobe.gpt import ENTRIES_LIMIT, MAGIC, SECTOR_SIZES

_HEADER = struct.Struct("<8sIIIIQQQQ16sQIII")
"""UEFI specification 2.10, table 5.5."""
_ENTRY = struct.Struct("<16s16sQQQ72s")
"""UEFI specification 2.10, table 5.6: type, GUID, first sector, last sector, attributes, name."""


@dataclass(frozen=True, slots=True)
class Partition:
    """One partition.

    Attributes:
        number: as the kernel counts: the place in the table, from 1 on.
        offset: first byte.
        length: bytes.
        label: of a GPT; None where the table has none.
        uuid: its PARTUUID in lower case; None where the table has none.
    """

    number: int
    offset: int
    length: int
    label: str | None
    uuid: str | None


def list_partitions(path: Path) -> tuple[Partition, ...]:
    """Return what the table of a disk or of its image says; nothing where there is none.

    Raises:
        OSError: it cannot be read.
    """
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        device = Device(fd)
        found = _gpt(device)
        if found is not None:
            return tuple(found)
        primary = _mbr(device)
    finally:
        os.close(fd)
    if not primary:
        return ()
    signature = primary[0].uuid
    return _by_libparted(path, None if signature is None else signature[:8]) or primary


def _gpt(device: Device) -> tuple[Partition, ...] | None:
    """Return the entries of the primary table, else of the backup; None without either."""
    for size in SECTOR_SIZES:
        entries = _gpt_entries(device, size, 1)
        if entries is None and device.read(size, 8) == MAGIC:
            entries = _gpt_entries(device, size, device.length // size - 1)
        if entries is not None:
            return tuple(_partition(entry, number, size) for number, entry in entries)
    return None


def _gpt_entries(device: Device, size: int, sector: int) -> list[tuple[int, bytes]] | None:
    """Return the used entries of one table with right checksums, with their numbers.

    An entry that ends before it begins is left out: checksums are no proof of sense.
    """
    raw = device.read(sector * size, size)
    if len(raw) < size or raw[:8] != MAGIC:
        return None
    header = _HEADER.unpack_from(raw)
    length, checksum, own = header[2], header[3], header[5]
    entries_at, count, entry_size, entries_checksum = header[10:14]
    if not _HEADER.size <= length <= size or own != sector:
        return None
    if zlib.crc32(raw[:16] + bytes(4) + raw[20:length]) != checksum:
        return None
    if entry_size < _ENTRY.size or count * entry_size > ENTRIES_LIMIT:
        return None
    entries = device.read(entries_at * size, count * entry_size)
    if zlib.crc32(entries) != entries_checksum:
        return None
    each = (entries[at : at + entry_size] for at in range(0, len(entries), entry_size))
    return [(number, entry) for number, entry in enumerate(each, 1) if _is_used(entry)]


def _is_used(entry: bytes) -> bool:
    kind, _, first, last, _, _ = _ENTRY.unpack_from(entry)
    return any(kind) and 0 < first <= last


def _partition(entry: bytes, number: int, size: int) -> Partition:
    _, unique, first, last, _, name = _ENTRY.unpack_from(entry)
    label = name.decode("utf-16-le", "replace").partition("\0")[0]
    length = (last - first + 1) * size
    return Partition(number, first * size, length, label, str(UUID(bytes_le=unique)))


def _mbr(device: Device) -> tuple[Partition, ...]:
    """Return the primary partitions."""
    sector = device.read(0, 512)
    if not mbr.divides_the_disk(sector):
        return ()
    size = device.sector_size or 512
    signature = int.from_bytes(sector[440:444], "little")
    found = []
    for number, at in enumerate(range(mbr.TABLE, 510, 16), 1):
        start, count = struct.unpack_from("<II", sector, at + 8)
        if sector[at + 4]:
            uuid = f"{signature:08x}-{number:02x}" if signature else None
            found.append(Partition(number, start * size, count * size, None, uuid))
    return tuple(found)


def _by_libparted(path: Path, signature: str | None) -> tuple[Partition, ...]:
    """Return what libparted finds, which walks logical partitions too; nothing without it."""
    try:
        import _ped
        import parted
    except ImportError:
        return ()
    found = []
    try:
        device = parted.getDevice(str(path))
        try:
            disk = parted.newDisk(device)
            for item in disk.partitions:
                size = device.sectorSize
                offset, length = item.geometry.start * size, item.geometry.length * size
                label = item.name if disk.supportsFeature(parted.DISK_TYPE_PARTITION_NAME) else None
                uuid = None if signature is None else f"{signature}-{item.number:02x}"
                found.append(Partition(item.number, offset, length, label, uuid))
        finally:
            # libparted keeps what it saw of a device, its length too, until it is removed.
            device.removeFromCache()
    except (_ped.DeviceException, _ped.DiskException, _ped.DiskLabelException, _ped.IOException):
        return ()
    return tuple(found)

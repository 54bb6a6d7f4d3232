# SPDX-License-Identifier: Apache-2.0
"""FAT12, FAT16 and FAT32 (blkid calls them all `vfat`).

Source: Microsoft, "FAT: General Overview of On-Disk Format" 1.03 (BIOS parameter block at byte 11,
type by the count of clusters, volume label as a root directory entry with attribute 8).

The signature 0x55AA alone also stands in every MBR, whose boot code may even look like a parameter
block. So a partition table in the same sector outweighs it, and a parameter block without one of
the usual type strings counts only with the media byte at the head of the first FAT, which is the
check that GRUB makes (grub-core/fs/fat.c, grub_fat_mount).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from fsprobe import luks, mbr
from fsprobe.device import Device
from fsprobe.superblock import Superblock
from fsprobe.text import label_of

FAT12_CLUSTERS = 4085  # fewer clusters than this is FAT12
FAT16_CLUSTERS = 65525
TYPE_STRINGS = (
    (0x52, (b"FAT32   ", b"MSWIN")),
    (0x36, (b"FAT16   ", b"FAT12   ", b"FAT     ", b"MSDOS")),
)
NOT_FAT = (b"JFS     ", b"HPFS    ")  # OS/2 puts a parameter block in front of these as well
NO_NAME = b"NO NAME    "
ATTRIBUTES, VOLUME_ID, DIRECTORY, LONG_NAME = 11, 0x08, 0x10, 0x0F
DIRECTORY_LIMIT = 128 << 10
"""Bytes of the root directory that are searched for the label."""


@dataclass(frozen=True, slots=True)
class _Layout:
    """The BIOS parameter block. Positions are sectors, except `sector_size` in bytes."""

    sector_size: int
    cluster: int
    reserved: int
    fats: int
    root_entries: int
    total: int
    media: int
    fat: int
    root_cluster: int | None

    @property
    def root(self) -> int:
        return self.reserved + self.fats * self.fat

    @property
    def data(self) -> int:
        return self.root + -(-self.root_entries * 32 // self.sector_size)

    @property
    def clusters(self) -> int:
        return (self.total - self.data) // self.cluster

    @property
    def bits(self) -> int:
        if self.root_cluster is not None:
            return 32
        return 12 if self.clusters < FAT12_CLUSTERS else 16


def probe(device: Device) -> Superblock | None:
    """Length: count of sectors (16 bits, or 32 where that is zero) times sector size.

    This is casync's rule; it differs where casync takes the boot code of an MBR for FAT.
    """
    raw = device.read(0, 512)
    layout = _layout(raw)
    if layout is None or mbr.divides_the_disk(raw) or luks.probe_bitlocker(device) is not None:
        return None
    named = any(raw.startswith(strings, at) for at, strings in TYPE_STRINGS)
    if not named and not _fat_begins_with_media(device, layout):
        return None
    extended = 0x42 if layout.bits == 32 else 0x26
    signature = raw[extended]
    serial = raw[extended + 1 : extended + 5] if signature in (0x28, 0x29) else bytes(4)
    label = _root_label(device, layout)
    if label is None and signature == 0x29:
        label = raw[extended + 5 : extended + 16]
    return Superblock(
        kind="vfat",
        length=layout.total * layout.sector_size,
        block_size=layout.sector_size,
        label=None if label is None or label == NO_NAME else label_of(label),
        uuid="{3:02X}{2:02X}-{1:02X}{0:02X}".format(*serial) if any(serial) else None,
        version=f"FAT{layout.bits}",
        weak=not named,
    )


def _layout(raw: bytes) -> _Layout | None:
    if len(raw) < 512 or raw[510:512] != mbr.SIGNATURE or raw[0x36:0x3E] in NOT_FAT:
        return None
    sector_size, cluster, reserved, fats, root_entries, total, media, fat = struct.unpack_from(
        "<HBHBHHBH", raw, 11
    )
    total = total or int.from_bytes(raw[32:36], "little")
    root_cluster = None
    if fat == 0:
        fat = int.from_bytes(raw[36:40], "little")
        root_cluster = int.from_bytes(raw[44:48], "little")
    if (
        sector_size not in (512, 1024, 2048, 4096)
        or cluster == 0
        or cluster & (cluster - 1)
        or reserved == 0
        or fats == 0
        or fat == 0
        or not (media == 0xF0 or media >= 0xF8)
    ):
        return None
    layout = _Layout(
        sector_size, cluster, reserved, fats, root_entries, total, media, fat, root_cluster
    )
    if layout.clusters < 1 or (layout.bits == 16 and layout.clusters >= FAT16_CLUSTERS):
        return None
    if (layout.clusters + 2) * layout.bits > fat * sector_size * 8:
        return None  # the FAT is too small for the clusters it must describe
    return layout


def _fat_begins_with_media(device: Device, layout: _Layout) -> bool:
    """Tell whether the first FAT entry is the media byte with all higher bits set."""
    first = int.from_bytes(device.read(layout.reserved * layout.sector_size, 4), "little")
    mask = {12: 0xFFF, 16: 0xFFFF, 32: 0x0FFFFFFF}[layout.bits]
    return first & mask | 8 == mask & ~0xFF | layout.media | 8


def _root_label(device: Device, layout: _Layout) -> bytes | None:
    """Return the 11 bytes of the first volume label entry of the root directory."""
    for block in _root_directory(device, layout):
        for at in range(0, len(block) - 31, 32):
            entry = block[at : at + 32]
            if entry[0] == 0:
                return None
            attributes = entry[ATTRIBUTES] & 0x3F
            if entry[0] == 0xE5 or attributes == LONG_NAME:
                continue
            if attributes & (VOLUME_ID | DIRECTORY) == VOLUME_ID:
                return entry[:11]
    return None


def _root_directory(device: Device, layout: _Layout) -> Iterator[bytes]:
    """Yield the root directory in pieces, at most `DIRECTORY_LIMIT` bytes."""
    size = layout.sector_size
    if layout.root_cluster is None:
        yield device.read(layout.root * size, min(layout.root_entries * 32, DIRECTORY_LIMIT))
        return
    cluster, left = layout.root_cluster, DIRECTORY_LIMIT
    while 2 <= cluster < layout.clusters + 2 and left > 0:
        at = (layout.data + (cluster - 2) * layout.cluster) * size
        block = device.read(at, min(layout.cluster * size, left))
        yield block
        left -= layout.cluster * size
        entry = device.read(layout.reserved * size + cluster * 4, 4)
        cluster = int.from_bytes(entry, "little") & 0x0FFFFFFF

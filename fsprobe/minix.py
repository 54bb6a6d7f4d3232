# SPDX-License-Identifier: Apache-2.0
"""Minix 1, 2 and 3, of either byte order.

Source: linux/include/uapi/linux/minix_fs.h, struct minix_super_block and minix3_super_block at
byte 1024; the checks are those of minix_check_superblock() and of fsck.minix in util-linux.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from fsprobe.device import Device
from fsprobe.errors import ProbeError
from fsprobe.superblock import Superblock

OFFSET = 1024
SIZE = 32
V1_V2_BLOCK = 1024
INODE_SIZES = {1: 32, 2: 64, 3: 64}
V3_MAGIC = 0x4D5A
VERSIONS = {0x137F: 1, 0x138F: 1, 0x2468: 2, 0x2478: 2}
"""By magic; the second of each pair has names of 30 bytes, the first of 14."""


@dataclass(frozen=True, slots=True)
class _Layout:
    version: int
    block_size: int
    inodes: int
    inode_map: int
    zone_map: int
    first_zone: int
    log_zone_size: int
    zones: int


def probe(device: Device) -> Superblock | None:
    """Length: zones times block size. A two-byte magic: a weak claim."""
    raw = device.read(OFFSET, SIZE)
    if len(raw) < SIZE:
        return None
    for order in "<>":
        layout = _layout(raw, order)
        if layout is not None:
            _check(layout)
            return Superblock(
                kind="minix",
                length=layout.zones * layout.block_size,
                block_size=layout.block_size,
                version=str(layout.version),
                weak=True,
            )
    return None


def _layout(raw: bytes, order: str) -> _Layout | None:
    """Read the fields in one byte order; None when the magic is not of that order."""
    (magic,) = struct.unpack_from(f"{order}H", raw, 16)
    if magic in VERSIONS:
        inodes, zones16, inode_map, zone_map, first_zone, log = struct.unpack_from(
            f"{order}6H", raw
        )
        (zones32,) = struct.unpack_from(f"{order}I", raw, 20)
        version = VERSIONS[magic]
        zones = zones16 if version == 1 else zones32
        return _Layout(version, V1_V2_BLOCK, inodes, inode_map, zone_map, first_zone, log, zones)
    (magic,) = struct.unpack_from(f"{order}H", raw, 24)
    if magic != V3_MAGIC:
        return None
    inodes, _, inode_map, zone_map, first_zone, log = struct.unpack_from(f"{order}I5H", raw)
    (zones,) = struct.unpack_from(f"{order}I", raw, 20)
    (block_size,) = struct.unpack_from(f"{order}H", raw, 28)
    return _Layout(3, block_size, inodes, inode_map, zone_map, first_zone, log, zones)


def _check(layout: _Layout) -> None:
    """Cross-check the maps with the counts that they have to hold.

    Raises:
        ProbeError: they contradict each other.
    """
    bits = layout.block_size * 8
    if bits == 0 or layout.block_size % 512 or layout.log_zone_size or layout.inodes == 0:
        raise ProbeError("corrupt", "minix", f"block size {layout.block_size}")
    inode_blocks = -(-layout.inodes * INODE_SIZES[layout.version] // layout.block_size)
    if (
        layout.inode_map * bits < layout.inodes + 1
        or layout.first_zone < 2 + layout.inode_map + layout.zone_map + inode_blocks
        or layout.first_zone >= layout.zones
        or layout.zone_map * bits < layout.zones - layout.first_zone + 1
    ):
        raise ProbeError("corrupt", "minix", "its maps do not fit its counts")

# SPDX-License-Identifier: Apache-2.0
"""Raw flash: UBI, UBIFS and JFFS2.

Source: linux/drivers/mtd/ubi/ubi-media.h (struct ubi_ec_hdr), linux/fs/ubifs/ubifs-media.h (struct
ubifs_ch and ubifs_sb_node), linux/include/uapi/linux/jffs2.h (node types). All use CRC-32 without
the final inversion; UBI and UBIFS start it with all ones, JFFS2 with zero. JFFS2 is unknown to
blkid.
"""

from __future__ import annotations

import struct

from fsprobe.checksum import crc32
from fsprobe.device import Device
from fsprobe.errors import ProbeError
from fsprobe.superblock import Superblock
from fsprobe.text import uuid_of

UBI_MAGIC = b"UBI#"
UBIFS_MAGIC = b"\x31\x18\x10\x06"
UBIFS_SUPERBLOCK = 6  # UBIFS_SB_NODE
UBIFS_NODE_SIZE = 4096
JFFS2_MAGIC = 0x1985
JFFS2_NODES = {  # type, and the bytes that its fixed part has
    0xE001: 40,  # directory entry
    0xE002: 68,  # inode
    0x2003: 12,  # clean marker
    0x2004: 12,  # padding
    0x2006: 28,  # summary
    0xE008: 28,  # extended attribute
    0xE009: 12,  # reference to one
}
JFFS2_NODE_CRC = {0xE001: (32, 32), 0xE002: (64, 60)}  # where it stands, bytes it covers
JFFS2_HEADER_CRC = (8, 8)  # the same for the nodes that have no other


def probe_ubi(device: Device) -> Superblock | None:
    """UBI. The size of an erase block is not recorded, so there is no length.

    Raises:
        ProbeError: wrong header checksum.
    """
    raw = device.read(0, 64)
    if len(raw) < 64 or raw[:4] != UBI_MAGIC:
        return None
    if crc32(raw[:60]) != int.from_bytes(raw[60:], "big"):
        raise ProbeError("corrupt", "ubi", "the header checksum is wrong")
    sequence = int.from_bytes(raw[24:28], "big")
    return Superblock(
        kind="ubi", length=None, uuid=str(sequence) if sequence else None, version=str(raw[4])
    )


def probe_ubifs(device: Device) -> Superblock | None:
    """UBIFS. Length: count of logical erase blocks times their size.

    Raises:
        ProbeError: wrong node checksum.
    """
    raw = device.read(0, UBIFS_NODE_SIZE)
    if len(raw) < UBIFS_NODE_SIZE or raw[:4] != UBIFS_MAGIC or raw[20] != UBIFS_SUPERBLOCK:
        return None
    if crc32(raw[8:]) != int.from_bytes(raw[4:8], "little"):
        raise ProbeError("corrupt", "ubifs", "the superblock checksum is wrong")
    block_size, count = struct.unpack_from("<II", raw, 36)
    (version,) = struct.unpack_from("<I", raw, 80)
    (read_only,) = struct.unpack_from("<I", raw, 124)
    return Superblock(
        kind="ubifs",
        length=count * block_size,
        block_size=block_size,
        uuid=uuid_of(raw[108:124]),
        version=f"w{version}r{read_only}",
    )


def probe_jffs2(device: Device) -> Superblock | None:
    """JFFS2. A log of nodes without a superblock, so there is no length.

    The magic has only 16 bits, so the first node must be of a known type and have a right CRC.
    """
    raw = device.read(0, 68)
    if len(raw) < 12:
        return None
    for order, version in (("<", "little-endian"), (">", "big-endian")):
        magic, kind, length = struct.unpack_from(order + "HHI", raw)
        if magic != JFFS2_MAGIC or kind not in JFFS2_NODES or length < JFFS2_NODES[kind]:
            continue
        at, covered = JFFS2_NODE_CRC.get(kind, JFFS2_HEADER_CRC)
        if len(raw) < at + 4:
            continue
        if crc32(raw[:covered], 0) == struct.unpack_from(order + "I", raw, at)[0]:
            return Superblock(kind="jffs2", length=None, version=version)
    return None

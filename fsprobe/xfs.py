# SPDX-License-Identifier: Apache-2.0
"""XFS, and the external log of an XFS file system.

Source: linux/fs/xfs/libxfs/xfs_format.h, struct xfs_dsb at byte 0, big-endian; the checks are
those of xfs_validate_sb_common(). The log's record header: xlog_rec_header in xfs_log_format.h.
"""

from __future__ import annotations

import struct

from fsprobe.checksum import ONES, crc32c, without
from fsprobe.device import Device
from fsprobe.errors import ProbeError
from fsprobe.superblock import Superblock
from fsprobe.text import label_of, uuid_of

MAGIC = b"XFSB"
SIZE = 512
CRC_AT = 224  # sb_crc, little-endian
MIN_AG_BLOCKS = 64  # XFS_MIN_AG_BLOCKS
LOG_MAGIC = b"\xfe\xed\xba\xbe"  # XLOG_HEADER_MAGIC_NUM
LOG_SCAN = 256 << 10  # the largest record, XLOG_MAX_RECORD_BSIZE: as far as blkid looks
BASIC_BLOCK = 512


def probe(device: Device) -> Superblock | None:
    """Length: data blocks times block size; an external log or real-time device not counted."""
    raw = device.read(0, SIZE)
    if len(raw) < SIZE or raw[:4] != MAGIC:
        return None
    block_size, blocks = struct.unpack_from(">IQ", raw, 4)
    group_blocks, groups = struct.unpack_from(">II", raw, 84)
    features, sector_size, inode_size, per_block = struct.unpack_from(">HHHH", raw, 100)
    block_log, sector_log, inode_log, per_block_log, group_log = raw[120:125]
    version = features & 15
    if version not in (4, 5):
        raise ProbeError("corrupt", "xfs", f"version {version}")
    sizes = ((block_size, block_log), (sector_size, sector_log), (inode_size, inode_log))
    if (
        any(size != 1 << log for size, log in sizes)
        or not 512 <= sector_size <= 32768
        or not 512 <= block_size <= 65536
        or not 256 <= inode_size <= 2048
        or block_log - inode_log != per_block_log
        or inode_size * per_block != block_size
    ):
        raise ProbeError("corrupt", "xfs", "sizes of block, sector and inode disagree")
    most = groups * group_blocks
    least = most - group_blocks + MIN_AG_BLOCKS
    if group_blocks > 1 << group_log or groups == 0 or not least <= blocks <= most:
        raise ProbeError("corrupt", "xfs", f"{blocks} blocks in {groups} groups of {group_blocks}")
    if raw[126]:
        raise ProbeError("corrupt", "xfs", "mkfs did not finish")
    if version == 5:
        crc = crc32c(without(device.read(0, sector_size), CRC_AT, 4)) ^ ONES
        if crc != int.from_bytes(raw[CRC_AT : CRC_AT + 4], "little"):
            raise ProbeError("corrupt", "xfs", "wrong checksum")
    return Superblock(
        kind="xfs",
        length=blocks * block_size,
        block_size=block_size,
        label=label_of(raw[108:120]),
        uuid=uuid_of(raw[32:48]),
        version=str(version),
    )


def probe_log(device: Device) -> Superblock | None:
    """An external log; its length is in the superblock of the file system it belongs to.

    The log is a ring, so that the first whole record may begin at any basic block.
    """
    raw = device.read(0, LOG_SCAN)
    if raw[:4] == MAGIC:
        return None
    at = raw.find(LOG_MAGIC)
    while at >= 0:
        header = raw[at : at + BASIC_BLOCK]
        if at % BASIC_BLOCK == 0 and len(header) == BASIC_BLOCK:
            version, length = struct.unpack_from(">II", header, 8)
            (layout,) = struct.unpack_from(">I", header, 300)
            if version in (1, 2) and 0 < length <= LOG_SCAN and layout in (1, 2, 3):
                uuid = uuid_of(header[304:320])
                return Superblock(
                    "xfs_external_log", None, uuid=uuid, version=str(version), weak=True
                )
        at = raw.find(LOG_MAGIC, at + 1)
    return None

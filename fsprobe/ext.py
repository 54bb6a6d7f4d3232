# SPDX-License-Identifier: Apache-2.0
"""ext2, ext3, ext4 and their external journals (`jbd`).

Source: linux/fs/ext4/ext4.h, struct ext4_super_block at byte 1024; the checks are those of
ext4_fill_super() in linux/fs/ext4/super.c.
"""

from __future__ import annotations

import struct

from fsprobe.checksum import crc32c
from fsprobe.device import Device
from fsprobe.errors import ProbeError
from fsprobe.superblock import Superblock
from fsprobe.text import label_of, uuid_of

OFFSET = 1024
SIZE = 1024
MAGIC = 0xEF53
MAX_BLOCK_LOG_SIZE = 6  # EXT4_MAX_BLOCK_LOG_SIZE - EXT4_MIN_BLOCK_LOG_SIZE: 64 KiB
COMPAT_HAS_JOURNAL = 0x4
INCOMPAT_JOURNAL_DEV = 0x8
INCOMPAT_64BIT = 0x80
RO_COMPAT_METADATA_CSUM = 0x400
EXT3_INCOMPAT = 0x2 | 0x4 | 0x10  # filetype, recover, meta_bg
EXT3_RO_COMPAT = 0x1 | 0x2 | 0x4  # sparse_super, large_file, btree_dir
CHECKSUM_AT = 0x3FC
READS = 3
"""A mounted file system rewrites its superblock: a read may fall between fields and checksum."""


def probe(device: Device) -> Superblock | None:
    """Length: block count (64 bits where the 64bit feature is set) times block size.

    casync takes the low 32 bits of the count alone, and so cuts a file system of 2^32 blocks and
    more short.
    """
    for _ in range(READS):
        raw = device.read(OFFSET, SIZE)
        if len(raw) < SIZE or int.from_bytes(raw[56:58], "little") != MAGIC:
            return None
        compat, incompat, ro_compat = struct.unpack_from("<III", raw, 92)
        if not ro_compat & RO_COMPAT_METADATA_CSUM:
            break
        if crc32c(raw[:CHECKSUM_AT]) == int.from_bytes(raw[CHECKSUM_AT:], "little"):
            break
    else:
        raise ProbeError("corrupt", "ext4", "wrong checksum")
    if incompat & INCOMPAT_JOURNAL_DEV:
        kind = "jbd"
    elif incompat & ~EXT3_INCOMPAT or ro_compat & ~EXT3_RO_COMPAT:
        kind = "ext4"
    else:
        kind = "ext3" if compat & COMPAT_HAS_JOURNAL else "ext2"
    (blocks,) = struct.unpack_from("<I", raw, 4)
    if incompat & INCOMPAT_64BIT:
        blocks |= int.from_bytes(raw[0x150:0x154], "little") << 32
    (log_block_size,) = struct.unpack_from("<I", raw, 24)
    if log_block_size > MAX_BLOCK_LOG_SIZE or blocks == 0:
        raise ProbeError("corrupt", kind, f"{blocks} blocks of 2^{10 + log_block_size} bytes")
    block_size = 1024 << log_block_size
    if kind != "jbd":
        _check_groups(raw, kind, blocks, block_size)
    revision, minor = struct.unpack_from("<I", raw, 76)[0], struct.unpack_from("<H", raw, 62)[0]
    return Superblock(
        kind=kind,
        length=blocks * block_size,
        block_size=block_size,
        label=label_of(raw[120:136]),
        uuid=uuid_of(raw[104:120]),
        version=f"{revision}.{minor}",
    )


def _check_groups(raw: bytes, kind: str, blocks: int, block_size: int) -> None:
    """Cross-check the counts of blocks, groups and inodes.

    Raises:
        ProbeError: they contradict each other.
    """
    (inodes,) = struct.unpack_from("<I", raw, 0)
    (first,) = struct.unpack_from("<I", raw, 20)
    per_group, _, inodes_per_group = struct.unpack_from("<III", raw, 32)
    if first > 1 or blocks <= first or not per_group or not 0 < inodes_per_group <= block_size * 8:
        raise ProbeError("corrupt", kind, "block group sizes out of range")
    groups = -(-(blocks - first) // per_group)
    if inodes != groups * inodes_per_group:
        raise ProbeError(
            "corrupt", kind, f"{inodes} inodes in {groups} groups of {inodes_per_group}"
        )

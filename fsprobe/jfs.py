# SPDX-License-Identifier: Apache-2.0
"""JFS.

Source: linux/fs/jfs/jfs_superblock.h, struct jfs_superblock at 32 KiB; pxd_t in jfs_types.h; the
checks are those of chkSuper() in linux/fs/jfs/jfs_mount.c and of blkid.
"""

from __future__ import annotations

import struct

from fsprobe.device import Device
from fsprobe.errors import ProbeError
from fsprobe.superblock import Superblock
from fsprobe.text import label_of, uuid_of

MAGIC = b"JFS1"
OFFSET = 32 << 10
SIZE = 184
MAX_VERSION = 2


def probe(device: Device) -> Superblock | None:
    """Length: the end of the last of aggregate, fsck work space and inline log.

    The latter two follow the aggregate, whose size field leaves them out.
    """
    raw = device.read(OFFSET, SIZE)
    if len(raw) < SIZE or raw[:4] != MAGIC:
        return None
    version, size, block_size, block_log, factor_log, sector_size, sector_log = struct.unpack_from(
        "<IQIHHIH", raw, 4
    )
    if (
        not 1 <= version <= MAX_VERSION
        or block_log > 12
        or block_size != 1 << block_log
        or sector_size != 1 << min(sector_log, 12)
        or block_log != sector_log + factor_log
        or size == 0
    ):
        raise ProbeError("corrupt", "jfs", "version, or sizes of block and sector, disagree")
    length = max(
        size * sector_size,
        _extent_end(raw, 72) * block_size,
        _extent_end(raw, 80) * block_size,
    )
    return Superblock(
        kind="jfs",
        length=length,
        block_size=block_size,
        label=label_of(raw[152:168]),
        uuid=uuid_of(raw[136:152]),
        version=str(version),
    )


def _extent_end(raw: bytes, offset: int) -> int:
    """Return the block after an extent: a pxd_t, of 24 bits length and 40 bits address."""
    length_and_high, low = struct.unpack_from("<II", raw, offset)
    return int((length_and_high >> 24 << 32) + low + (length_and_high & 0xFFFFFF))

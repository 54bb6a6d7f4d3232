# SPDX-License-Identifier: Apache-2.0
"""EROFS.

Source: linux/fs/erofs/erofs_fs.h, struct erofs_super_block at byte 1024; the checks are those of
erofs_read_superblock() in linux/fs/erofs/super.c.
"""

from __future__ import annotations

import struct

from fsprobe.checksum import crc32c, without
from fsprobe.device import Device
from fsprobe.errors import ProbeError
from fsprobe.superblock import Superblock
from fsprobe.text import label_of, uuid_of

OFFSET = 1024
SIZE = 128
MAGIC = 0xE0F5E1E2
COMPAT_SB_CHKSUM = 0x1
INCOMPAT_48BIT = 0x80  # linux 6.15: blocks_hi takes the place of root_nid
MIN_BLOCK_LOG, MAX_BLOCK_LOG = 9, 16  # the kernel mounts 512 bytes to the page size


def probe(device: Device) -> Superblock | None:
    """Length: block count times block size; extra devices of a multi-device image not counted."""
    raw = device.read(OFFSET, SIZE)
    if len(raw) < SIZE or int.from_bytes(raw[:4], "little") != MAGIC:
        return None
    checksum, compat, block_log, _, blocks_hi = struct.unpack_from("<IIBBH", raw, 4)
    (blocks,) = struct.unpack_from("<I", raw, 36)
    (incompat,) = struct.unpack_from("<I", raw, 80)
    if incompat & INCOMPAT_48BIT:
        blocks |= blocks_hi << 32
    if not MIN_BLOCK_LOG <= block_log <= MAX_BLOCK_LOG or blocks == 0:
        raise ProbeError("corrupt", "erofs", f"{blocks} blocks of 2^{block_log} bytes")
    block_size = 1 << block_log
    if compat & COMPAT_SB_CHKSUM:
        # From the superblock to the end of the block that it lies in.
        covered = device.read(OFFSET, max(block_size - OFFSET % block_size, SIZE))
        if crc32c(without(covered, 4, 4)) != checksum:
            raise ProbeError("corrupt", "erofs", "wrong checksum")
    return Superblock(
        kind="erofs",
        length=blocks * block_size,
        block_size=block_size,
        label=label_of(raw[64:80]),
        uuid=uuid_of(raw[48:64]),
    )

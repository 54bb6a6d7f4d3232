# SPDX-License-Identifier: Apache-2.0
"""squashfs 4, and the kind of its predecessors.

Source: linux/fs/squashfs/squashfs_fs.h, struct squashfs_super_block at byte 0; the checks are
those of squashfs_fill_super(). Version 4 is little-endian; 1 to 3 were of either byte order.
"""

from __future__ import annotations

import struct

from fsprobe.device import Device
from fsprobe.errors import ProbeError
from fsprobe.superblock import Superblock

MAGIC = 0x73717368
SIZE = 96
PADDING = 4096  # mksquashfs pads images to 4 KiB so that loop devices can hold them
ABSENT = 0xFFFFFFFFFFFFFFFF  # SQUASHFS_INVALID_BLK: this table is not there
MIN_BLOCK_LOG, MAX_BLOCK_LOG = 12, 20
COMPRESSIONS = range(1, 7)  # zlib, lzma, lzo, xz, lz4, zstd


def probe(device: Device) -> Superblock | None:
    """Length: bytes_used rounded up to 4 KiB, as casync does, or to the device's end.

    Unlike casync, which reads version 4 fields whatever the version, this tells no length for
    versions 1 to 3.
    """
    raw = device.read(0, SIZE)
    if len(raw) < SIZE or MAGIC not in (
        int.from_bytes(raw[:4], "little"),
        int.from_bytes(raw[:4], "big"),
    ):
        return None
    big = int.from_bytes(raw[:4], "big") == MAGIC
    major, minor = struct.unpack_from(">HH" if big else "<HH", raw, 28)
    version = f"{major}.{minor}"
    if 1 <= major <= 3:
        return Superblock("squashfs3", None, version=version)
    if big or version != "4.0":
        raise ProbeError("corrupt", "squashfs", f"version {version}")
    inodes, _, block_size, _, compression, block_log = struct.unpack_from("<IIIIHH", raw, 4)
    bytes_used, *tables = struct.unpack_from("<QQQQQQQ", raw, 40)
    if not MIN_BLOCK_LOG <= block_log <= MAX_BLOCK_LOG or block_size != 1 << block_log:
        raise ProbeError("corrupt", "squashfs", f"block size {block_size}, log {block_log}")
    if inodes == 0 or compression not in COMPRESSIONS:
        raise ProbeError("corrupt", "squashfs", f"{inodes} inodes, compression {compression}")
    ids, xattrs, inode_table, directories, fragments, exports = tables
    # The order in which mksquashfs writes them, and in which the kernel wants them.
    order = [SIZE, inode_table, directories]
    order += [table for table in (fragments, exports, ids, xattrs) if table != ABSENT]
    if ids == ABSENT or order != sorted(order) or order[-1] >= bytes_used:
        raise ProbeError("corrupt", "squashfs", "tables out of order or beyond the end")
    if bytes_used <= device.length:
        length = min(-(-bytes_used // PADDING) * PADDING, device.length)
    else:
        length = bytes_used
    return Superblock("squashfs", length, block_size, version=version)

# SPDX-License-Identifier: Apache-2.0
"""cramfs, of either byte order.

Source: linux/include/uapi/linux/cramfs_fs.h, struct cramfs_super at byte 0, or at 512 behind a
boot sector; the checks are those of cramfs_read_super() in linux/fs/cramfs/inode.c.
"""

from __future__ import annotations

import stat
import struct

from fsprobe.device import Device
from fsprobe.errors import ProbeError
from fsprobe.superblock import Superblock
from fsprobe.text import label_of

MAGIC = 0x28CD3D45
SIGNATURE = b"Compressed ROMFS"
SIZE = 76
OFFSETS = (0, 512)
SUPPORTED_FLAGS = 0xFF | 0x100 | 0x200 | 0x400 | 0x800  # CRAMFS_SUPPORTED_FLAGS
FLAG_FSID_VERSION_2 = 0x1


def probe(device: Device) -> Superblock | None:
    """Length: the size field. Version 1 had no dependable one, the kernel ignores it: None."""
    for offset in OFFSETS:
        raw = device.read(offset, SIZE)
        for order in "<>":
            if len(raw) == SIZE and struct.unpack_from(f"{order}I", raw)[0] == MAGIC:
                return _parse(raw, order)
    return None


def _parse(raw: bytes, order: str) -> Superblock:
    size, flags = struct.unpack_from(f"{order}II", raw, 4)
    (root_mode,) = struct.unpack_from(f"{order}H", raw, 64)
    if raw[16:32] != SIGNATURE or flags & ~SUPPORTED_FLAGS or not stat.S_ISDIR(root_mode):
        raise ProbeError("corrupt", "cramfs", f"flags {flags:#x}, root mode {root_mode:#o}")
    if not flags & FLAG_FSID_VERSION_2:
        return Superblock("cramfs", None, label=label_of(raw[48:64]), version="1")
    _, _, blocks, files = struct.unpack_from(f"{order}IIII", raw, 32)
    if size < SIZE or files == 0 or blocks > size:
        raise ProbeError("corrupt", "cramfs", f"{files} files in {blocks} blocks, {size} bytes")
    return Superblock("cramfs", size, label=label_of(raw[48:64]), version="2")

# SPDX-License-Identifier: Apache-2.0
"""romfs.

Source: linux/Documentation/filesystems/romfs.rst and linux/include/uapi/linux/romfs_fs.h, struct
romfs_super_block at byte 0, big-endian.
"""

from __future__ import annotations

import struct

from fsprobe.device import Device
from fsprobe.errors import ProbeError
from fsprobe.superblock import Superblock
from fsprobe.text import label_of

MAGIC = b"-rom1fs-"
SUMMED = 512  # bytes that the checksum covers, or all of a smaller image
MIN_SIZE = 32  # ROMFH_SIZE with a volume name


def probe(device: Device) -> Superblock | None:
    """Length: the size field, rounded up to the 1 KiB blocks it is read in (ROMBSIZE)."""
    raw = device.read(0, SUMMED)
    if len(raw) < MIN_SIZE or raw[:8] != MAGIC:
        return None
    (size,) = struct.unpack_from(">I", raw, 8)
    covered = raw[: min(size, len(raw)) // 4 * 4]
    if size < MIN_SIZE or sum(struct.unpack(f">{len(covered) // 4}I", covered)) & 0xFFFFFFFF:
        raise ProbeError("corrupt", "romfs", "wrong checksum")
    length = -(-size // 1024) * 1024
    if size <= device.length:
        length = min(length, device.length)
    return Superblock("romfs", length, 1024, label=label_of(raw[16:SUMMED]))

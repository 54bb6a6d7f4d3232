# SPDX-License-Identifier: Apache-2.0
"""zonefs: the zones of a zoned block device as files.

Source: linux/fs/zonefs/zonefs.h, struct zonefs_super at byte 0; zonefs_read_super().
"""

from __future__ import annotations

import struct

from fsprobe.checksum import crc32, without
from fsprobe.device import Device
from fsprobe.errors import ProbeError
from fsprobe.superblock import Superblock
from fsprobe.text import label_of, uuid_of

MAGIC = 0x5A4F4653
SIZE = 4096  # ZONEFS_SUPER_SIZE


def probe(device: Device) -> Superblock | None:
    """No length: zonefs is all of a zoned device, and does not record it."""
    raw = device.read(0, SIZE)
    if len(raw) < SIZE or int.from_bytes(raw[:4], "little") != MAGIC:
        return None
    (stored,) = struct.unpack_from("<I", raw, 4)
    if crc32(without(raw, 4, 4)) != stored:
        raise ProbeError("corrupt", "zonefs", "wrong checksum")
    return Superblock("zonefs", None, label=label_of(raw[8:72]), uuid=uuid_of(raw[72:88]))

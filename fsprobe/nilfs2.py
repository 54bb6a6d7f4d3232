# SPDX-License-Identifier: Apache-2.0
"""NILFS2.

Source: linux/include/uapi/linux/nilfs2_ondisk.h, struct nilfs_super_block at byte 1024 and, as a
backup, in the last whole 4 KiB block of the device; nilfs_valid_sb() in linux/fs/nilfs2.
"""

from __future__ import annotations

import struct
from dataclasses import replace

from fsprobe.checksum import crc32, without
from fsprobe.device import Device
from fsprobe.errors import ProbeError
from fsprobe.superblock import Superblock
from fsprobe.text import label_of, uuid_of

MAGIC = 0x3434
OFFSET = 1024
SIZE = 1024
SUM_AT = 16
FIELDS_END = 248  # up to s_volume_name; s_bytes covers at least this much
MAX_BLOCK_LOG_SIZE = 6  # NILFS_MAX_BLOCK_SIZE: 64 KiB


def probe(device: Device) -> Superblock | None:
    """Length: dev_size, which includes the backup superblock.

    The backup alone is a weak claim: it outlives a file system that was overwritten.

    Raises:
        ProbeError: the primary superblock is broken and no backup is whole.
    """
    raw = device.read(OFFSET, SIZE)
    primary = _magic(raw)
    if primary and _whole(raw):
        return _parse(raw)
    backup_at = (device.length >> 12) - 1 << 12  # NILFS_SB2_OFFSET_BYTES
    backup = device.read(backup_at, SIZE)
    if _magic(backup) and _whole(backup):
        found = _parse(backup)
        if found.length is not None and (found.length >> 12) - 1 << 12 == backup_at:
            return replace(found, weak=not primary)
    if primary:
        raise ProbeError("corrupt", "nilfs2", "wrong checksum")
    return None


def _magic(raw: bytes) -> bool:
    return len(raw) == SIZE and int.from_bytes(raw[6:8], "little") == MAGIC


def _whole(raw: bytes) -> bool:
    size, _, seed, stored = struct.unpack_from("<HHII", raw, 8)
    if not FIELDS_END <= size <= SIZE:
        return False
    return crc32(without(raw[:size], SUM_AT, 4), seed) == int(stored)


def _parse(raw: bytes) -> Superblock:
    (revision,) = struct.unpack_from("<I", raw, 0)
    log, segments, device_size, _, per_segment = struct.unpack_from("<IQQQI", raw, 20)
    if log > MAX_BLOCK_LOG_SIZE or segments * per_segment << 10 + log > device_size:
        raise ProbeError("corrupt", "nilfs2", f"{segments} segments in {device_size} bytes")
    return Superblock(
        kind="nilfs2",
        length=device_size,
        block_size=1024 << log,
        label=label_of(raw[168:248]),
        uuid=uuid_of(raw[152:168]),
        version=str(revision),
    )

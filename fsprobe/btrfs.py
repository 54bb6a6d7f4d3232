# SPDX-License-Identifier: Apache-2.0
"""btrfs.

Source: linux/include/uapi/linux/btrfs_tree.h, struct btrfs_super_block at 64 KiB, mirrors at
64 MiB and 256 GiB (btrfs_sb_offset() in linux/fs/btrfs/disk-io.h); the checks are those of
btrfs_validate_super().
"""

from __future__ import annotations

import hashlib
import struct

from fsprobe.checksum import ONES, crc32c
from fsprobe.device import Device
from fsprobe.errors import ProbeError
from fsprobe.superblock import Superblock
from fsprobe.text import label_of, uuid_of

MAGIC = b"_BHRfS_M"
OFFSET = 64 << 10
MIRRORS = (64 << 20, 256 << 30)
SIZE = 4096
CSUM_SIZE = 32
CRC32C, XXHASH, SHA256, BLAKE2B = range(4)  # enum btrfs_csum_type
DEVICE_ITEM = 0xC9  # struct btrfs_dev_item: devid u64, total_bytes u64, ...


def probe(device: Device) -> Superblock | None:
    """Length: what the file system uses of this device (dev_item.total_bytes).

    That is the superblock's total_bytes where there is one device. A mirror stands in for a
    damaged primary superblock, but never for a missing one: nothing wipes the mirrors of a file
    system that was overwritten.

    Raises:
        ProbeError: no superblock is whole.
    """
    raw = device.read(OFFSET, SIZE)
    if len(raw) < SIZE or raw[64:72] != MAGIC:
        return None
    fault = _fault(raw, OFFSET)
    if fault is not None:
        # Of the same file system, or it belongs to an older one.
        for offset in MIRRORS:
            mirror = device.read(offset, SIZE)
            if len(mirror) == SIZE and mirror[32:48] == raw[32:48] and not _fault(mirror, offset):
                raw = mirror
                break
        else:
            raise ProbeError("corrupt", "btrfs", fault)
    (sector_size,) = struct.unpack_from("<I", raw, 0x90)
    (total_bytes,) = struct.unpack_from("<Q", raw, DEVICE_ITEM + 8)
    return Superblock(
        kind="btrfs",
        length=total_bytes,
        block_size=sector_size,
        label=label_of(raw[0x12B : 0x12B + 256]),
        uuid=uuid_of(raw[32:48]),
    )


def _fault(raw: bytes, offset: int) -> str | None:
    """Tell what is wrong with the superblock read at `offset`; None when it is whole."""
    if raw[64:72] != MAGIC:
        return "no magic"
    (at,) = struct.unpack_from("<Q", raw, 48)
    if at != offset:
        return f"written for byte {at}"
    (csum_type,) = struct.unpack_from("<H", raw, 0xC4)
    covered = raw[CSUM_SIZE:]
    if csum_type == CRC32C:
        digest = (crc32c(covered) ^ ONES).to_bytes(4, "little")
    elif csum_type == SHA256:
        digest = hashlib.sha256(covered).digest()
    elif csum_type == BLAKE2B:
        digest = hashlib.blake2b(covered, digest_size=32).digest()
    elif csum_type == XXHASH:
        digest = b""  # not in the standard library; the fields below have to do
    else:
        return f"checksum type {csum_type}"
    if not raw.startswith(digest):
        return "wrong checksum"
    total_bytes, used, _, devices, sector_size, node_size = struct.unpack_from("<QQQQII", raw, 0x70)
    (of_device,) = struct.unpack_from("<Q", raw, DEVICE_ITEM + 8)
    for size in (sector_size, node_size):
        if size & (size - 1) or not 4096 <= size <= 65536:
            return f"sector size {sector_size}, node size {node_size}"
    if devices == 0 or used > total_bytes or of_device == 0:
        return f"{used} of {total_bytes} bytes used, on {devices} devices"
    return None

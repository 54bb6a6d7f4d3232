# SPDX-License-Identifier: Apache-2.0
"""bcachefs.

Source: linux/fs/bcachefs/bcachefs_format.h, struct bch_sb at 4 KiB; sb-members_format.h for the
devices; bch2_checksum() for the checksum.
"""

from __future__ import annotations

import struct

from fsprobe.checksum import ONES, crc32c
from fsprobe.device import Device
from fsprobe.errors import ProbeError
from fsprobe.superblock import Superblock
from fsprobe.text import label_of, uuid_of

MAGICS = (
    bytes.fromhex("c68573f666ce90a9d96a60cf803df7ef"),  # BCHFS_MAGIC
    bytes.fromhex("c68573f64e1a45ca8265f57f48ba6d81"),  # BCACHE_MAGIC, of early versions
)
OFFSET = 4096
SECTOR = 512
HEADER = 752  # struct bch_sb up to its variable fields, layout included
MAX_SIZE = 64 << 10
"""Superblocks beyond this (many devices) are neither checked nor searched for the device."""
CSUM_CRC32C_NONZERO = 1
FIELD_MEMBERS_V1, FIELD_MEMBERS_V2 = 1, 11
MEMBER_V1_SIZE = 56


def probe(device: Device) -> Superblock | None:
    """Length: the end of this device's buckets, or of the superblock copy behind them."""
    raw = device.read(OFFSET, HEADER)
    if len(raw) < HEADER or raw[24:40] not in MAGICS:
        return None
    at, _, block_sectors, index, devices, words = struct.unpack_from("<QQHBBI", raw, 104)
    if at * SECTOR != OFFSET or index >= devices or block_sectors == 0:
        raise ProbeError("corrupt", "bcachefs", f"device {index} of {devices}, sector {at}")
    size = HEADER + words * 8
    length = None
    if size <= MAX_SIZE:
        raw = device.read(OFFSET, size)
        if len(raw) < size:
            raise ProbeError("truncated", "bcachefs", "the device ends in the superblock")
        (flags,) = struct.unpack_from("<Q", raw, 144)
        stored = int.from_bytes(raw[:4], "little")
        if flags >> 2 & 63 == CSUM_CRC32C_NONZERO and crc32c(raw[16:]) ^ ONES != stored:
            raise ProbeError("corrupt", "bcachefs", "wrong checksum")
        length = _length(raw, index)
    return Superblock(
        kind="bcachefs",
        length=length,
        block_size=block_sectors * SECTOR,
        label=label_of(raw[72:104]),
        uuid=uuid_of(raw[56:72]),
        version=str(int.from_bytes(raw[16:18], "little")),
    )


def _length(raw: bytes, index: int) -> int | None:
    """Return where the device ends, in bytes; None when it is not among the members."""
    member = _member(raw, index)
    if member is None:
        return None
    buckets, _, bucket_sectors = struct.unpack_from("<QHH", member, 16)
    log_sectors, copies = raw[257], raw[258]
    offsets = struct.unpack_from("<61Q", raw, 264)[:copies]
    ends = [buckets * bucket_sectors]
    ends += [offset + (1 << log_sectors) for offset in offsets]
    return int(max(ends)) * SECTOR


def _member(raw: bytes, index: int) -> bytes | None:
    """Return the entry of this device, of version 2 where both are there."""
    found: dict[int, bytes] = {}
    at = HEADER
    while at + 8 <= len(raw):
        words, kind = struct.unpack_from("<II", raw, at)
        field = raw[at : at + words * 8]
        if words == 0 or len(field) < words * 8:
            break
        if kind == FIELD_MEMBERS_V1:
            start = 8 + index * MEMBER_V1_SIZE
        elif kind == FIELD_MEMBERS_V2 and words > 1:
            start = 16 + index * int.from_bytes(field[8:10], "little")
        else:
            start = len(field)
        if start + 28 <= len(field):
            found[kind] = field[start : start + 28]
        at += words * 8
    return found.get(FIELD_MEMBERS_V2, found.get(FIELD_MEMBERS_V1))

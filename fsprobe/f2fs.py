# SPDX-License-Identifier: Apache-2.0
"""F2FS.

Source: linux/include/linux/f2fs_fs.h, struct f2fs_super_block, at byte 1024 of the first and of
the second block; the checks are those of sanity_check_raw_super() in linux/fs/f2fs/super.c.
"""

from __future__ import annotations

import struct
from dataclasses import replace

from fsprobe.checksum import crc32
from fsprobe.device import Device
from fsprobe.errors import ProbeError
from fsprobe.superblock import Superblock
from fsprobe.text import label_of, uuid_of

MAGIC = 0xF2F52010
OFFSET = 1024
SIZE = 3072
CRC_AT = SIZE - 4
FEATURE_SB_CHKSUM = 0x800
BLOCK_LOGS = range(12, 17)  # F2FS_BLKSIZE is the page size
DEVICES_AT = 2201  # devs[8]: path[64], total_segments u32; not empty on multi-device systems


def probe(device: Device) -> Superblock | None:
    """Length: block_count times block size, or the first device's share of several.

    The second copy alone is a weak claim: mkfs of other kinds does not always overwrite it.

    Raises:
        ProbeError: neither copy is whole.
    """
    raw = device.read(OFFSET, SIZE)
    if len(raw) < SIZE:
        return None
    first = int.from_bytes(raw[:4], "little") == MAGIC
    fault: ProbeError | None = None
    if first:
        try:
            return _parse(raw)
        except ProbeError as error:
            fault = error
    for block_log in BLOCK_LOGS:
        raw = device.read((1 << block_log) + OFFSET, SIZE)
        if len(raw) == SIZE and raw[:4] == MAGIC.to_bytes(4, "little"):
            try:
                return replace(_parse(raw), weak=not first)
            except ProbeError as error:
                fault = fault or error
    if fault is not None:
        raise fault
    return None


def _parse(raw: bytes) -> Superblock:
    major, minor, sector_log, per_block_log, block_log, segment_log = struct.unpack_from(
        "<HHIIII", raw, 4
    )
    (checksum_at, blocks) = struct.unpack_from("<IQ", raw, 32)
    (feature,) = struct.unpack_from("<I", raw, 2180)
    if feature & FEATURE_SB_CHKSUM:
        stored = int.from_bytes(raw[CRC_AT:], "little")
        if checksum_at != CRC_AT or crc32(raw[:CRC_AT], MAGIC) != stored:
            raise ProbeError("corrupt", "f2fs", "wrong checksum")
    if block_log not in BLOCK_LOGS or sector_log + per_block_log != block_log or segment_log != 9:
        raise ProbeError("corrupt", "f2fs", "sizes of sector, block and segment disagree")
    segments, *areas = struct.unpack_from("<IIIIII", raw, 48)  # total; ckpt, sit, nat, ssa, main
    start, *addresses = struct.unpack_from("<IIIIII", raw, 72)  # segment 0; ckpt, ... main
    at = start
    for address, area in zip(addresses, areas, strict=True):
        if address != at:
            raise ProbeError("corrupt", "f2fs", "its areas do not follow each other")
        at += area << segment_log
    if not at <= start + (segments << segment_log) <= blocks:
        raise ProbeError("corrupt", "f2fs", f"{segments} segments in {blocks} blocks")
    if raw[DEVICES_AT]:
        (own_segments,) = struct.unpack_from("<I", raw, DEVICES_AT + 64)
        blocks = start + (own_segments << segment_log)
    return Superblock(
        kind="f2fs",
        length=blocks << block_log,
        block_size=1 << block_log,
        label=label_of(raw[124:1148], "utf-16-le"),
        uuid=uuid_of(raw[108:124]),
        version=f"{major}.{minor}",
    )

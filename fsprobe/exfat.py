# SPDX-License-Identifier: Apache-2.0
"""exFAT.

Source: Microsoft, "exFAT file system specification", section 3.1 (main boot sector), 3.4 (boot
checksum, the twelfth sector) and 7.3 (volume label directory entry, type 0x83).
"""

from __future__ import annotations

import struct

from fsprobe.device import Device
from fsprobe.errors import ProbeError
from fsprobe.superblock import Superblock
from fsprobe.text import label_of

MAGIC = b"EXFAT   "
CHECKSUMMED_SECTORS = 11
NOT_CHECKSUMMED = (106, 107, 112)  # volume flags and percent in use change while mounted
VOLUME_LABEL = 0x83
LABEL_CHARACTERS = 11
DIRECTORY_LIMIT = 64 << 10
"""Bytes of the root directory that are searched for the label."""


def probe(device: Device) -> Superblock | None:
    """Length: volume length in sectors times sector size.

    Raises:
        ProbeError: fields out of range, or a wrong boot checksum.
    """
    raw = device.read(0, 512)
    if len(raw) < 512 or raw[3:11] != MAGIC or any(raw[11:64]):
        return None
    (sectors,) = struct.unpack_from("<Q", raw, 72)
    fat, fat_sectors, heap, clusters, root, serial = struct.unpack_from("<6I", raw, 80)
    minor, major = raw[104], raw[105]
    sector_shift, cluster_shift, fats = raw[108], raw[109], raw[110]
    if not 9 <= sector_shift <= 12 or cluster_shift > 25 - sector_shift or fats not in (1, 2):
        raise ProbeError("corrupt", "exfat", "sector or cluster size out of range")
    if fat < 24 or fat + fat_sectors * fats > heap or heap + (clusters << cluster_shift) > sectors:
        raise ProbeError("corrupt", "exfat", "regions overlap or pass the end of the volume")
    size = 1 << sector_shift
    boot = device.read(0, (CHECKSUMMED_SECTORS + 1) * size)
    if len(boot) < (CHECKSUMMED_SECTORS + 1) * size:
        raise ProbeError("truncated", "exfat", "the boot region is cut short")
    if _checksum(boot[: CHECKSUMMED_SECTORS * size]) != int.from_bytes(boot[-size:][:4], "little"):
        raise ProbeError("corrupt", "exfat", "the boot checksum is wrong")
    first = (heap + (root - 2 << cluster_shift)) * size if root >= 2 else 0
    length = min(size << cluster_shift, DIRECTORY_LIMIT)
    return Superblock(
        kind="exfat",
        length=sectors * size,
        block_size=size,
        label=_label(device.read(first, length)) if first else None,
        uuid=f"{serial >> 16:04X}-{serial & 0xFFFF:04X}" if serial else None,
        version=f"{major}.{minor}",
    )


def _checksum(boot: bytes) -> int:
    """Rotate and add, as section 3.4 has it: at most 44 KiB, so a plain loop will do."""
    total = 0
    for at, byte in enumerate(boot):
        if at not in NOT_CHECKSUMMED:
            total = ((total << 31 | total >> 1) + byte) & 0xFFFFFFFF
    return total


def _label(directory: bytes) -> str | None:
    """Find the label in the first cluster of the root directory, where formatters put it."""
    for at in range(0, len(directory) - 31, 32):
        if directory[at] == 0:
            return None
        if directory[at] == VOLUME_LABEL:
            count = min(directory[at + 1], LABEL_CHARACTERS)
            return label_of(directory[at + 2 : at + 2 + 2 * count], "utf-16-le")
    return None

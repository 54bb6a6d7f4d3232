# SPDX-License-Identifier: Apache-2.0
"""NTFS.

Source: linux/fs/ntfs3/ntfs.h (struct NTFS_BOOT, MFT_REC, ATTRIB) and ntfs-3g's layout.h.
"""

from __future__ import annotations

import struct

from fsprobe.device import Device
from fsprobe.errors import ProbeError
from fsprobe.superblock import Superblock
from fsprobe.text import label_of

MAGIC = b"NTFS    "
VOLUME_RECORD = 3  # MFT_REC_VOL, the file $Volume
VOLUME_NAME, VOLUME_INFORMATION, END = 0x60, 0x70, 0xFFFFFFFF


def probe(device: Device) -> Superblock | None:
    """Length: (total sectors + 1) times sector size.

    The count in the boot sector leaves out the sector after it, which holds the backup boot sector
    that chkdsk and the Windows boot loader expect. Where the device ends right before that
    sector (Windows NT 3.51 kept the backup elsewhere) the count alone is the length.

    Raises:
        ProbeError: fields out of range, or no master file table where it should be.
    """
    raw = device.read(0, 512)
    if len(raw) < 512 or raw[3:11] != MAGIC:
        return None
    (size,) = struct.unpack_from("<H", raw, 11)
    sectors, table = struct.unpack_from("<QQ", raw, 40)
    # Over 128 is a power of two, negated (clusters above 64 KiB).
    per_cluster = raw[13] if raw[13] <= 128 else 1 << 256 - raw[13] if raw[13] >= 240 else 0
    if size not in (256, 512, 1024, 2048, 4096) or per_cluster not in {1 << n for n in range(17)}:
        raise ProbeError("corrupt", "ntfs", "sector or cluster size out of range")
    if any(raw[14:21]) or any(raw[22:24]) or any(raw[32:36]) or sectors == 0:
        raise ProbeError("corrupt", "ntfs", "fields that must be zero are not")
    per_record = int.from_bytes(raw[64:65], "little", signed=True)
    record = per_record * per_cluster * size if per_record > 0 else 1 << -per_record
    if not 512 <= record <= 65536:
        raise ProbeError("corrupt", "ntfs", f"file record of {record} bytes")
    length = (sectors + 1) * size
    if length > device.length:
        length = sectors * size
    if length > device.length:
        raise ProbeError("truncated", "ntfs", f"{length} bytes, and the device has {device.length}")
    at = table * per_cluster * size + VOLUME_RECORD * record
    volume = device.read(at, record)
    if at >= sectors * size or len(volume) < record or volume[:4] != b"FILE":
        raise ProbeError("corrupt", "ntfs", "no $Volume record in the master file table")
    attributes = _attributes(_fixed_up(volume))
    name, information = attributes.get(VOLUME_NAME), attributes.get(VOLUME_INFORMATION, b"")
    (serial,) = struct.unpack_from("<Q", raw, 72)
    return Superblock(
        kind="ntfs",
        length=length,
        block_size=size,
        label=label_of(name, "utf-16-le") if name else None,
        uuid=f"{serial:016X}" if serial else None,
        version=f"{information[8]}.{information[9]}" if len(information) >= 10 else None,
    )


def _fixed_up(record: bytes) -> bytes:
    """Put back the last two bytes of each 512, which the record keeps in its own array."""
    at, count = struct.unpack_from("<HH", record, 4)
    fixed = bytearray(record)
    for index in range(1, count):
        end = index * 512
        original = record[at + 2 * index : at + 2 * index + 2]
        if end > len(record) or len(original) < 2:
            break
        fixed[end - 2 : end] = original
    return bytes(fixed)


def _attributes(record: bytes) -> dict[int, bytes]:
    """Map the type of each resident attribute to its value."""
    found: dict[int, bytes] = {}
    (at,) = struct.unpack_from("<H", record, 20)
    while at + 24 <= len(record):
        kind, length, elsewhere = struct.unpack_from("<IIB", record, at)
        if kind == END or length < 24:
            break
        if not elsewhere:
            size, offset = struct.unpack_from("<IH", record, at + 16)
            found.setdefault(kind, record[at + offset : at + offset + size])
        at += length
    return found

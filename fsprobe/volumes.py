# SPDX-License-Identifier: Apache-2.0
"""Members of volume managers: LVM2, bcache, ZFS and VMFS.

Source: LVM2 lib/format_text/layout.h (struct pv_header) and lib/label/label.h (struct
label_header, in one of the first four sectors); linux/drivers/md/bcache/bcache_ondisk.h (struct
cache_sb at sector 8); OpenZFS include/sys/vdev_impl.h (vdev_label_t), uberblock_impl.h and
nvpair.h; libblkid's vmfs.c for VMFS.
"""

from __future__ import annotations

import struct
from itertools import pairwise

from fsprobe.checksum import crc32
from fsprobe.device import Device
from fsprobe.errors import ProbeError
from fsprobe.superblock import Superblock
from fsprobe.text import label_of, uuid_of

LVM_LABEL, LVM_TYPE = b"LABELONE", b"LVM2 001"
LVM_CRC_START = 0xF597A6CF

BCACHE_AT = 4096
BCACHE_MAGIC = bytes.fromhex("c68573f64e1a45ca8265f57f48ba6d81")

ZFS_LABEL = 256 << 10
ZFS_LIST, ZFS_LIST_LENGTH = 16 << 10, 112 << 10
ZFS_TRAILER = (0x0210DA7AB10C7A11).to_bytes(8, "little")  # zec_magic, 40 bytes before the end
ZFS_UBERBLOCK = (0x00BAB10C).to_bytes(8, "little")
ZFS_NUMBER, ZFS_STRING = 8, 9

VMFS_VOLUME_AT, VMFS_VOLUME_MAGIC = 1 << 20, b"\x0d\xd0\x01\xc0"
VMFS_AT, VMFS_MAGIC = 2 << 20, b"\x5e\xf1\xab\x2f"


def probe_lvm(device: Device) -> Superblock | None:
    """LVM2 physical volume. Length: its recorded size.

    Raises:
        ProbeError: a label in its own sector with a wrong checksum.
    """
    for sector in range(4):
        raw = device.read(sector * 512, 512)
        if len(raw) < 512 or raw[:8] != LVM_LABEL or raw[24:32] != LVM_TYPE:
            continue
        own, checksum, header = struct.unpack_from("<QII", raw, 8)
        if own != sector:
            continue
        if crc32(raw[20:], LVM_CRC_START) != checksum:
            raise ProbeError("corrupt", "LVM2_member", "the label checksum is wrong")
        if not 32 <= header <= 512 - 40:
            raise ProbeError("corrupt", "LVM2_member", f"volume header at byte {header}")
        identifier = raw[header : header + 32].decode("ascii", "replace")
        (length,) = struct.unpack_from("<Q", raw, header + 32)
        cuts = (0, 6, 10, 14, 18, 22, 26, 32)
        return Superblock(
            kind="LVM2_member",
            length=length or None,
            uuid="-".join(identifier[a:b] for a, b in pairwise(cuts)),
            version=LVM_TYPE.decode(),
        )
    return None


def probe_bcache(device: Device) -> Superblock | None:
    """Backing or cache device of bcache."""
    raw = device.read(BCACHE_AT, 256)
    if len(raw) < 256 or raw[24:40] != BCACHE_MAGIC:
        return None
    own, version = struct.unpack_from("<QQ", raw, 8)
    if own * 512 != BCACHE_AT or version > 6:
        return None
    return Superblock(
        kind="bcache",
        length=None,
        label=label_of(raw[72:104]),
        uuid=uuid_of(raw[40:56]),
        version=str(version),
    )


def probe_zfs(device: Device) -> Superblock | None:
    """Member of a ZFS pool, by either of the two labels at its head. Label: name of the pool."""
    for at in (0, ZFS_LABEL):
        trailer = device.read(at + ZFS_LIST + ZFS_LIST_LENGTH - 40, 8)
        if trailer not in (ZFS_TRAILER, ZFS_TRAILER[::-1]):
            continue
        order = "<" if trailer == ZFS_TRAILER else ">"
        magic = ZFS_UBERBLOCK if order == "<" else ZFS_UBERBLOCK[::-1]
        ring = device.read(at + ZFS_LABEL // 2, ZFS_LABEL // 2)
        # Slots are 1 KiB, or a device block where that is larger; the newest transaction counts.
        slots = [
            struct.unpack_from(order + "QQ", ring, slot + 8)[::-1]
            for slot in range(0, len(ring) - 1023, 1024)
            if ring[slot : slot + 8] == magic
        ]
        if not slots:
            continue
        values = _zfs_values(device.read(at + ZFS_LIST, 4096))
        name, guid = values.get("name"), values.get("pool_guid")
        return Superblock(
            kind="zfs_member",
            length=None,
            label=label_of(name) if name else None,
            uuid=str(int.from_bytes(guid, "big")) if guid else None,
            version=str(max(slots)[1]),
        )
    return None


def _zfs_values(raw: bytes) -> dict[str, bytes]:
    """Read the numbers and strings at the head of an XDR name-value list."""
    values: dict[str, bytes] = {}
    at = 12
    while at + 12 <= len(raw):
        size, _, name_length = struct.unpack_from(">III", raw, at)
        value = at + 12 + (name_length + 3 & ~3)
        if size < 24 or value + 12 > len(raw):
            break
        kind, _, length = struct.unpack_from(">III", raw, value)
        name = raw[at + 12 : at + 12 + name_length].decode("ascii", "replace")
        if kind == ZFS_NUMBER:
            values[name] = raw[value + 8 : value + 16]
        elif kind == ZFS_STRING:
            values[name] = raw[value + 12 : value + 12 + min(length, 256)]
        at += size
    return values


def probe_vmfs(device: Device) -> Superblock | None:
    """VMFS, or the volume that carries it."""
    raw = device.read(VMFS_AT, 160)
    if len(raw) == 160 and raw[:4] == VMFS_MAGIC:
        return Superblock(
            kind="VMFS",
            length=None,
            label=label_of(raw[29:157]),
            uuid=_vmfs_uuid(raw[9:25]),
            version=str(raw[8]),
        )
    raw = device.read(VMFS_VOLUME_AT, 1024)
    if len(raw) == 1024 and raw[:4] == VMFS_VOLUME_MAGIC:
        return Superblock(
            kind="VMFS_volume_member",
            length=None,
            uuid=label_of(raw[532:567], "ascii"),
            version=str(int.from_bytes(raw[4:8], "little")),
        )
    return None


def _vmfs_uuid(raw: bytes) -> str | None:
    if not any(raw):
        return None
    return "-".join((raw[3::-1].hex(), raw[7:3:-1].hex(), raw[9:7:-1].hex(), raw[10:].hex()))

# SPDX-License-Identifier: Apache-2.0
"""Members of Linux software RAID and of DRBD.

Source: linux/include/uapi/linux/raid/md_p.h (struct mdp_superblock_s for 0.90, struct
mdp_superblock_1 for 1.x), linux/drivers/md/md.c (calc_sb_csum, calc_sb_1_csum and the four places);
drbd-headers, drbd_meta_data.h (struct meta_data_on_disk_9, and its forerunner of 8.4).
"""

from __future__ import annotations

import struct

from fsprobe import gpt, mbr
from fsprobe.device import Device
from fsprobe.errors import ProbeError
from fsprobe.superblock import Superblock
from fsprobe.text import label_of, uuid_of

MD_MAGIC = 0xA92B4EFC
MD_RESERVED = 65536  # 0.90 ends where a multiple of this ends, and fills the last 4096 of it
MD_0_SIZE = 4096
MD_1_HEAD = 256
MD_1_ROLES = 1920  # most members of an array: the superblock then fills 4096 bytes

DRBD_MAGIC = 0x83740267
DRBD_AREA = 4096
DRBD_SMALLEST = 65536
DRBD_VERSIONS = {
    DRBD_MAGIC + 4: ("v08", 40),
    DRBD_MAGIC + 5: ("v08", 40),  # not cleanly shut down
    DRBD_MAGIC + 6: ("v09", 48),
}
"""By the magic: version, and the byte where the device UUID stands."""


def probe_md(device: Device) -> Superblock | None:
    """Software RAID member. Length: through superblock and data, whichever ends later.

    Versions 0.90 and 1.0 stand at the end of the device, so the file system in front of them
    shows as well; a member is a member.

    Raises:
        ProbeError: a version 1 superblock that knows its own place, with a wrong checksum.
    """
    return _md_0(device) or _md_1(device)


def _md_0(device: Device) -> Superblock | None:
    at = device.length // MD_RESERVED * MD_RESERVED - MD_RESERVED
    raw = device.read(at, MD_0_SIZE)
    if len(raw) < MD_0_SIZE:
        return None
    for order in "<>":
        words = struct.unpack(order + "1024I", raw)
        if words[0] != MD_MAGIC or words[1] != 0:
            continue
        total = sum(words) - words[38]  # sb_csum
        if (total & 0xFFFFFFFF) + (total >> 32) & 0xFFFFFFFF != words[38]:
            continue
        if _in_a_partition(device, at):
            return None
        return Superblock(
            kind="linux_raid_member",
            length=at + MD_0_SIZE,
            uuid=uuid_of(struct.pack(">4I", words[5], *words[13:16])),
            version=".".join(str(word) for word in words[1:4]),
        )
    return None


def _md_1(device: Device) -> Superblock | None:
    end = device.length // 4096 * 4096 - 8192
    for version, at in (("1.0", end), ("1.1", 0), ("1.2", 4096)):
        raw = device.read(at, MD_1_HEAD)
        if len(raw) < MD_1_HEAD:
            continue
        magic, major = struct.unpack_from("<II", raw)
        data, size, own = struct.unpack_from("<QQQ", raw, 128)
        checksum, roles = struct.unpack_from("<II", raw, 216)
        if magic != MD_MAGIC or major != 1 or own * 512 != at:
            continue
        if version == "1.0" and _in_a_partition(device, at):
            continue
        if roles > MD_1_ROLES:
            raise ProbeError("corrupt", "linux_raid_member", f"{roles} members")
        if _md_1_checksum(device.read(at, MD_1_HEAD + 2 * roles)) != checksum:
            raise ProbeError("corrupt", "linux_raid_member", "the checksum is wrong")
        return Superblock(
            kind="linux_raid_member",
            length=max(at + 4096, (data + size) * 512),
            label=label_of(raw[32:64]),
            uuid=uuid_of(raw[16:32]),
            version=version,
        )
    return None


def _md_1_checksum(raw: bytes) -> int:
    words: tuple[int, ...] = struct.unpack_from(f"<{len(raw) // 4}I", raw)
    total = sum(words) - words[54]  # sb_csum
    if len(raw) % 4:
        total += int.from_bytes(raw[-2:], "little")
    return (total & 0xFFFFFFFF) + (total >> 32) & 0xFFFFFFFF


def _in_a_partition(device: Device, at: int) -> bool:
    """Tell whether a byte belongs to a partition: then what is there is not the disk's own.

    A superblock at the end of the last partition may also be at the right place for the disk.
    """
    size = device.sector_size or 512
    table = (
        range(partition.start * size, partition.end * size)
        for partition in mbr.partitions(device.read(0, 512))
        if partition.start > 0 and partition.kind != mbr.PROTECTIVE
    )
    return any(at in extent for extent in (*table, *gpt.partitions(device)))


def probe_drbd(device: Device) -> Superblock | None:
    """DRBD with internal metadata, in the last 4096 bytes of the device."""
    at = device.length - DRBD_AREA
    raw = device.read(at, DRBD_AREA) if device.length >= DRBD_SMALLEST else b""
    known = DRBD_VERSIONS.get(int.from_bytes(raw[60:64], "big"))
    if known is None or _in_a_partition(device, at):
        return None
    version, uuid_at = known
    device_uuid = int.from_bytes(raw[uuid_at : uuid_at + 8], "big")
    return Superblock(
        kind="drbd",
        length=device.length,
        uuid=f"{device_uuid:x}" if device_uuid else None,
        version=version,
    )

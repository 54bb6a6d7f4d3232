# SPDX-License-Identifier: Apache-2.0
"""Older file systems: ReiserFS, Reiser4, UFS, System V, Xenix, BeFS and HPFS.

Source: linux/fs/reiserfs/reiserfs.h (struct reiserfs_super_block_v1), reiser4progs
plugin/format40 and libreiser4 (struct reiser4_master_sb); linux/fs/ufs/ufs_fs.h (struct
ufs_super_block_third and fs_u11); linux/include/linux/sysv_fs.h; Haiku bfs.h (disk_super_block);
linux/fs/hpfs/hpfs.h (struct hpfs_super_block in sector 16, hpfs_spare_block in 17).
"""

from __future__ import annotations

import struct

from fsprobe.device import Device
from fsprobe.errors import ProbeError
from fsprobe.superblock import Superblock
from fsprobe.text import label_of, uuid_of

REISERFS_AT = (65536, 8192)
REISERFS_VERSIONS = {b"ReIsErFs\0\0": "3.5", b"ReIsEr2Fs\0": "3.6", b"ReIsEr3Fs\0": "JR"}
REISER4_MAGIC = b"ReIsEr4"

UFS_AT = (8192, 65536, 0, 262144)
UFS1_MAGICS = (0x00011954, 0x00195612, 0x00095014, 0x00612195, 0x05231994)
UFS2_MAGIC = 0x19540119
UFS_MAGIC_AT = 1372

SYSV_AT = tuple(block * 1024 + 512 for block in (0, 9, 15, 18))
SYSV_MAGIC = 0xFD187E20
XENIX_AT, XENIX_MAGIC = 1024, 0x2B5544

BEFS_AT = (0, 512)
BEFS_MAGICS = ((32, 0x42465331), (36, 0x42494745), (68, 0xDD121031), (112, 0x15B6830E))

HPFS_AT, HPFS_MAGIC = 8192, b"\x49\xe8\x95\xf9\xc5\xe9\x53\xfa"
HPFS_SPARE_AT, HPFS_SPARE_MAGIC = 8704, b"\x49\x18\x91\xf9"


def probe_reiserfs(device: Device) -> Superblock | None:
    """ReiserFS. Length: count of blocks times their size.

    Raises:
        ProbeError: a block size that is no power of two.
    """
    for at in REISERFS_AT:
        raw = device.read(at, 204)
        version = REISERFS_VERSIONS.get(raw[52:62])
        if len(raw) < 204 or version is None:
            continue
        (blocks,) = struct.unpack_from("<I", raw)
        (block_size,) = struct.unpack_from("<H", raw, 44)
        if block_size < 512 or block_size & (block_size - 1):
            raise ProbeError("corrupt", "reiserfs", f"blocks of {block_size} bytes")
        has_label = version != "3.5"
        return Superblock(
            kind="reiserfs",
            length=blocks * block_size,
            block_size=block_size,
            label=label_of(raw[100:116]) if has_label else None,
            uuid=uuid_of(raw[84:100]) if has_label else None,
            version=version,
        )
    return None


def probe_reiser4(device: Device) -> Superblock | None:
    """Reiser4; the master superblock leaves the size to the disk format plugin."""
    raw = device.read(REISERFS_AT[0], 52)
    if len(raw) < 52 or raw[:7] != REISER4_MAGIC:
        return None
    return Superblock(
        kind="reiser4",
        length=None,
        block_size=int.from_bytes(raw[18:20], "little"),
        label=label_of(raw[36:52]),
        uuid=uuid_of(raw[20:36]),
        version="4",
    )


def probe_ufs(device: Device) -> Superblock | None:
    """UFS1 and UFS2, either byte order. Length: count of fragments times their size.

    Raises:
        ProbeError: fragment or block size out of range.
    """
    for at in UFS_AT:
        raw = device.read(at, 1376)
        if len(raw) < 1376:
            continue
        for order in "<>":
            (magic,) = struct.unpack_from(order + "I", raw, UFS_MAGIC_AT)
            if magic == UFS2_MAGIC or magic in UFS1_MAGICS:
                return _ufs(raw, order, magic == UFS2_MAGIC)
    return None


def _ufs(raw: bytes, order: str, second: bool) -> Superblock:
    block_size, fragment = struct.unpack_from(order + "II", raw, 48)
    if not (512 <= fragment <= block_size <= 65536) or block_size % fragment:
        raise ProbeError("corrupt", "ufs", f"fragments of {fragment} in blocks of {block_size}")
    (count,) = struct.unpack_from(order + ("Q" if second else "I"), raw, 1080 if second else 36)
    one, two = struct.unpack_from(order + "II", raw, 144)
    return Superblock(
        kind="ufs",
        length=count * fragment,
        block_size=fragment,
        label=label_of(raw[680:712]) if second else None,
        uuid=f"{one:08x}{two:08x}" if one or two else None,
        version="2" if second else "1",
    )


def probe_sysv(device: Device) -> Superblock | None:
    """System V."""
    for at in SYSV_AT:
        raw = device.read(at, 512)
        if len(raw) == 512 and SYSV_MAGIC in struct.unpack_from(
            "<I", raw, 504
        ) + struct.unpack_from(">I", raw, 504):
            return Superblock(kind="sysv", length=None, label=label_of(raw[440:446]))
    return None


def probe_xenix(device: Device) -> Superblock | None:
    """Xenix."""
    raw = device.read(XENIX_AT, 1024)
    if len(raw) < 1024:
        return None
    if XENIX_MAGIC not in struct.unpack_from("<I", raw, 1016) + struct.unpack_from(">I", raw, 1016):
        return None
    return Superblock(kind="xenix", length=None, label=label_of(raw[632:638]))


def probe_befs(device: Device) -> Superblock | None:
    """BeFS, either byte order. Length: count of blocks times their size.

    Raises:
        ProbeError: block size and its shift contradict each other.
    """
    for at in BEFS_AT:
        raw = device.read(at, 116)
        if len(raw) < 116:
            continue
        for order, version in (("<", "little-endian"), (">", "big-endian")):
            if any(struct.unpack_from(order + "I", raw, at)[0] != m for at, m in BEFS_MAGICS):
                continue
            block_size, shift, blocks = struct.unpack_from(order + "IIQ", raw, 40)
            if not 10 <= shift <= 13 or block_size != 1 << shift:
                raise ProbeError("corrupt", "befs", f"blocks of {block_size} bytes, shift {shift}")
            return Superblock(
                kind="befs",
                length=blocks * block_size,
                block_size=block_size,
                label=label_of(raw[:32]),
                version=version,
            )
    return None


def probe_hpfs(device: Device) -> Superblock | None:
    """HPFS. Length: count of sectors."""
    raw = device.read(HPFS_AT, 512)
    if len(raw) < 512 or raw[:8] != HPFS_MAGIC:
        return None
    if device.read(HPFS_SPARE_AT, 4) != HPFS_SPARE_MAGIC:
        return None
    (sectors,) = struct.unpack_from("<I", raw, 16)
    boot = device.read(0, 512)
    named = boot[510:512] == b"\x55\xaa" and boot[38] == 0x28 and boot[54:58] == b"HPFS"
    serial = boot[39:43] if named else bytes(4)
    return Superblock(
        kind="hpfs",
        length=sectors * 512,
        block_size=512,
        label=label_of(boot[43:54]) if named else None,
        uuid="{3:02X}{2:02X}-{1:02X}{0:02X}".format(*serial) if any(serial) else None,
        version=str(raw[8]),
    )

# SPDX-License-Identifier: Apache-2.0
"""Android: boot and vendor_boot images, sparse images, verified boot metadata, super partitions.

Source: AOSP system/tools/mkbootimg/include/bootimg/bootimg.h (headers 0 to 4, vendor headers 3 and
4), system/core/libsparse/sparse_format.h, external/avb/libavb/avb_vbmeta_image.h and avb_footer.h,
system/core/fs_mgr/liblp/include/liblp/metadata_format.h. blkid knows none of these.
"""

from __future__ import annotations

import hashlib
import struct

from fsprobe.device import Device
from fsprobe.errors import ProbeError
from fsprobe.superblock import Superblock
from fsprobe.text import label_of

BOOT_MAGIC = b"ANDROID!"
VENDOR_BOOT_MAGIC = b"VNDRBOOT"
HEADER_SIZES = {0: 608, 1: 1648, 2: 1660}
PAGE_OF_V3 = 4096
SPARSE_MAGIC = b"\x3a\xff\x26\xed"
SPARSE_CHUNK_LIMIT = 65536
"""Chunks that are followed to tell the length."""
VBMETA_MAGIC, VBMETA_HEADER = b"AVB0", 256
FOOTER_MAGIC, FOOTER_SIZE = b"AVBf", 64
SUPER_MAGIC, SUPER_AT, SUPER_GEOMETRY = b"gDla", 4096, 52


def _up(size: int, page: int) -> int:
    return -(-size // page) * page


def _is_page_size(size: int) -> bool:
    return 512 <= size <= 65536 and size & (size - 1) == 0


def probe_boot(device: Device) -> Superblock | None:
    """Boot image. Length: the header and every part, each rounded up to whole pages.

    Headers 0 to 2 follow casync, which takes the number at byte 40 for the size of a device tree.
    From header 1 on it is the header's version, so casync counts a page too many and leaves out
    the recovery and device tree parts of headers 1 and 2: its length is taken only where it
    covers them and the device has it. Headers 3 and 4 casync does not know.

    Raises:
        ProbeError: a page size that is no power of two, or an unknown header version.
    """
    raw = device.read(0, 2048)
    if len(raw) < 2048 or raw[:8] != BOOT_MAGIC:
        return None
    (version,) = struct.unpack_from("<I", raw, 40)
    if version in (3, 4):
        return _boot_of_v3(raw, version)
    kernel, _, ramdisk, _, second = struct.unpack_from("<5I", raw, 8)
    (page,) = struct.unpack_from("<I", raw, 36)
    if not _is_page_size(page):
        raise ProbeError("corrupt", "android_boot", f"page size {page}")
    parts = sum(_up(size, page) for size in (kernel, ramdisk, second))
    casync = _up(608, page) + parts + _up(version, page)
    length = casync
    if version in (1, 2):
        (recovery,) = struct.unpack_from("<I", raw, 1632)
        (tree,) = struct.unpack_from("<I", raw, 1648) if version == 2 else (0,)
        length = _up(HEADER_SIZES[version], page) + parts + _up(recovery, page) + _up(tree, page)
        if length <= casync <= device.length:
            length = casync
    return Superblock(
        kind="android_boot",
        length=length,
        block_size=page,
        label=label_of(raw[48:64]),
        version=str(version) if version in HEADER_SIZES else "0",
    )


def _boot_of_v3(raw: bytes, version: int) -> Superblock:
    kernel, ramdisk = struct.unpack_from("<II", raw, 8)
    (signature,) = struct.unpack_from("<I", raw, 1580) if version == 4 else (0,)
    parts = (kernel, ramdisk, signature)
    return Superblock(
        kind="android_boot",
        length=PAGE_OF_V3 + sum(_up(size, PAGE_OF_V3) for size in parts),
        block_size=PAGE_OF_V3,
        version=str(version),
    )


def probe_vendor_boot(device: Device) -> Superblock | None:
    """vendor_boot image. Length: the header and every part, each rounded up to whole pages.

    Raises:
        ProbeError: a page size that is no power of two, or an unknown header version.
    """
    raw = device.read(0, 2128)
    if len(raw) < 2128 or raw[:8] != VENDOR_BOOT_MAGIC:
        return None
    version, page = struct.unpack_from("<II", raw, 8)
    if version not in (3, 4) or not _is_page_size(page):
        raise ProbeError("corrupt", "android_vendor_boot", f"version {version}, page size {page}")
    (ramdisk,) = struct.unpack_from("<I", raw, 24)
    (tree,) = struct.unpack_from("<I", raw, 2100)
    parts = [2112, ramdisk, tree]
    if version == 4:
        (table,) = struct.unpack_from("<I", raw, 2112)
        (bootconfig,) = struct.unpack_from("<I", raw, 2124)
        parts = [2128, ramdisk, tree, table, bootconfig]
    return Superblock(
        kind="android_vendor_boot",
        length=sum(_up(size, page) for size in parts),
        block_size=page,
        label=label_of(raw[2080:2096]),
        version=str(version),
    )


def probe_sparse(device: Device) -> Superblock | None:
    """Sparse image. Length: of the sparse file itself, the sum of its chunks.

    None where they are too many to follow.

    Raises:
        ProbeError: header sizes out of range, or chunks that do not make up the stated blocks.
    """
    raw = device.read(0, 28)
    if len(raw) < 28 or raw[:4] != SPARSE_MAGIC:
        return None
    major, minor, header, chunk_header, block_size, blocks, chunks = struct.unpack_from(
        "<HHHHIII", raw, 4
    )
    if major != 1 or header < 28 or chunk_header < 12 or block_size == 0 or block_size % 4:
        raise ProbeError("corrupt", "android_sparse", "header fields out of range")
    length = None
    if chunks <= SPARSE_CHUNK_LIMIT:
        length = _end_of_chunks(device, header, chunk_header, chunks, blocks)
    return Superblock(
        kind="android_sparse", length=length, block_size=block_size, version=f"{major}.{minor}"
    )


def _end_of_chunks(device: Device, at: int, chunk_header: int, chunks: int, blocks: int) -> int:
    covered = 0
    for _ in range(chunks):
        chunk = device.read(at, 12)
        if len(chunk) < 12:
            raise ProbeError("truncated", "android_sparse", f"{at} bytes and more")
        count, size = struct.unpack_from("<II", chunk, 4)
        if size < chunk_header:
            raise ProbeError("corrupt", "android_sparse", f"a chunk of {size} bytes")
        at += size
        covered += count
    if covered != blocks:
        raise ProbeError("corrupt", "android_sparse", f"{covered} of {blocks} blocks")
    return at


def probe_vbmeta(device: Device) -> Superblock | None:
    """Verified boot metadata. Length: header, authentication and auxiliary block."""
    raw = device.read(0, VBMETA_HEADER)
    if len(raw) < VBMETA_HEADER or raw[:4] != VBMETA_MAGIC:
        return None
    major, minor, authentication, auxiliary = struct.unpack_from(">IIQQ", raw, 4)
    if major != 1 or authentication % 64 or auxiliary % 64:
        raise ProbeError("corrupt", "android_vbmeta", f"version {major}.{minor}")
    return Superblock(
        kind="android_vbmeta",
        length=VBMETA_HEADER + authentication + auxiliary,
        version=f"{major}.{minor}",
    )


def probe_footer(device: Device) -> Superblock | None:
    """Verified boot footer at the very end: of some image that no other probe knows."""
    raw = device.read(device.length - FOOTER_SIZE, FOOTER_SIZE)
    if len(raw) < FOOTER_SIZE or raw[:4] != FOOTER_MAGIC:
        return None
    major, minor, _, at, size = struct.unpack_from(">IIQQQ", raw, 4)
    if major != 1 or at + size > device.length - FOOTER_SIZE:
        return None
    if device.read(at, 4) != VBMETA_MAGIC:
        return None
    return Superblock(
        kind="android_avb_footer", length=device.length, version=f"{major}.{minor}", weak=True
    )


def probe_super(device: Device) -> Superblock | None:
    """Super partition with dynamic partitions inside; kind only."""
    raw = device.read(SUPER_AT, SUPER_GEOMETRY)
    if len(raw) < SUPER_GEOMETRY or raw[:4] != SUPER_MAGIC:
        return None
    digest = hashlib.sha256(raw[:8] + bytes(32) + raw[40:]).digest()
    if raw[4:8] != SUPER_GEOMETRY.to_bytes(4, "little") or raw[8:40] != digest:
        raise ProbeError("corrupt", "android_super", "the geometry checksum is wrong")
    (block_size,) = struct.unpack_from("<I", raw, 48)
    return Superblock(kind="android_super", length=None, block_size=block_size)

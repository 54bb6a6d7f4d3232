# SPDX-License-Identifier: Apache-2.0
"""Superblocks written by hand from the kernel's headers, where no program here makes them.

They prove less than real images: reader and writer have the same author.
"""

from __future__ import annotations

import struct

from fsprobe.checksum import ONES, crc32, crc32c, without

UUID = bytes.fromhex("0123456789abcdef0123456789abcdef")
UUID_TEXT = "01234567-89ab-cdef-0123-456789abcdef"


def put(raw: bytearray, offset: int, layout: str, *values: int | bytes) -> None:
    struct.pack_into(layout, raw, offset, *values)


def bcachefs(
    *, buckets: int = 128, bucket_sectors: int = 256, members_field: int = 11, copies_at: int = 0
) -> bytes:
    """One device of `buckets` * `bucket_sectors` sectors; linux/fs/bcachefs/bcachefs_format.h."""
    member = bytearray(136)
    put(member, 0, "<16sQHH", UUID, buckets, 0, bucket_sectors)
    if members_field == 11:
        field = struct.pack("<IIH6x", 0, 11, len(member)) + member
    else:
        field = struct.pack("<II", 0, 1) + bytes(member[:56])
    field = struct.pack("<I", len(field) // 8) + field[4:]
    raw = bytearray(752) + field
    put(raw, 16, "<HH", 1028, 1028)
    put(
        raw, 24, "<16s16s16s32s", bytes.fromhex("c68573f666ce90a9d96a60cf803df7ef"), UUID, UUID, b""
    )
    put(raw, 72, "<32s", b"crafted")
    put(raw, 104, "<QQHBBI", 8, 1, 8, 0, 1, len(field) // 8)
    put(raw, 144, "<Q", 1 << 2)  # BCH_SB_CSUM_TYPE: crc32c
    put(raw, 257, "<BB", 3, 2 if copies_at else 1)
    put(raw, 264, "<QQ", 8, copies_at)
    put(raw, 0, "<I", crc32c(bytes(raw[16:])) ^ ONES)
    image = bytearray(buckets * bucket_sectors * 512)
    image[4096 : 4096 + len(raw)] = raw
    return bytes(image)


def zonefs() -> bytes:
    """linux/fs/zonefs/zonefs.h."""
    raw = bytearray(4096)
    put(raw, 0, "<II64s16s", 0x5A4F4653, 0, b"zones", UUID)
    put(raw, 4, "<I", crc32(bytes(raw)))
    return bytes(raw) + bytes(1 << 20)


def swap_big_endian(signature: bytes = b"SWAPSPACE2", pages: int = 64) -> bytes:
    """A swap area of a big-endian machine with 16 KiB pages; linux/include/linux/swap.h."""
    page = 16 << 10
    raw = bytearray(pages * page)
    put(raw, 1024, ">III16s16s", 1, pages - 1, 0, UUID, b"big")
    put(raw, page - 10, "10s", signature)
    return bytes(raw)


def erofs_48bit(real: bytes, blocks_hi: int) -> bytes:
    """Give a real EROFS image the 48BIT feature of Linux 6.15."""
    raw = bytearray(real[:4096])
    put(raw, 1024 + 14, "<H", blocks_hi)
    (incompat,) = struct.unpack_from("<I", raw, 1024 + 80)
    put(raw, 1024 + 80, "<I", incompat | 0x80)
    put(raw, 1024 + 4, "<I", crc32c(without(bytes(raw[1024:]), 4, 4)))
    return bytes(raw)


def minix_big_endian(real: bytes) -> bytes:
    """Swap the bytes of each field of a real little-endian superblock."""
    raw = bytearray(real)
    (magic_v3,) = struct.unpack_from("<H", real, 1024 + 24)
    layout = "I6HII3HB" if magic_v3 == 0x4D5A else "6HIHHI"
    put(raw, 1024, f">{layout}", *struct.unpack_from(f"<{layout}", real, 1024))
    return bytes(raw)

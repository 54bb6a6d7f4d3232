# SPDX-License-Identifier: Apache-2.0
"""Superblocks written by hand from the cited headers, where no program here makes them.

They prove less than real images: reader and writer have the same author. So the tests hold
them against blkid(8), and those of software RAID against mdadm --examine.
"""

from __future__ import annotations

import hashlib
import struct

from fsprobe.checksum import crc32, without
from tests.fsprobe.crafted import UUID, put

MIB = 1 << 20
NAME = b"crafted"


def md_0(order: str = "<", length: int = 2 * MIB, blocks_kib: int = 64) -> bytes:
    """linux/include/uapi/linux/raid/md_p.h, struct mdp_superblock_s; md.c, calc_sb_csum()."""
    words = [0] * 1024
    words[:13] = [0xA92B4EFC, 0, 90, 0, 0, 0x01234567, 1, 1, blocks_kib, 1, 2, 0, 0]
    words[13:16] = [0x89ABCDEF, 0x01234567, 0x89ABCDEF]
    total = sum(words)
    words[38] = (total & 0xFFFFFFFF) + (total >> 32)
    return bytes(length - 65536) + struct.pack(order + "1024I", *words) + bytes(65536 - 4096)


def md_1(version: str, length: int = 2 * MIB, data_sectors: int = 1024) -> bytes:
    """md_p.h, struct mdp_superblock_1; md.c, calc_sb_1_csum() and super_1_load()."""
    at = {"1.0": length // 4096 * 4096 - 8192, "1.1": 0, "1.2": 4096}[version]
    data = 0 if version == "1.0" else 2048
    roles = 3
    raw = bytearray(256 + 2 * roles)
    put(raw, 0, "<IIII16s32s", 0xA92B4EFC, 1, 0, 0, UUID, NAME)
    put(raw, 72, "<iIQIII", 1, 0, data_sectors, 0, 2, 0)
    put(raw, 128, "<QQQ", data, data_sectors, at // 512)
    put(raw, 168, "<16s", UUID[::-1])
    put(raw, 220, "<I", roles)
    put(raw, 256, "<3H", 0, 0xFFFE, 0xFFFF)
    total = sum(struct.unpack_from("<65I", raw)) + int.from_bytes(raw[260:], "little")
    put(raw, 216, "<I", (total & 0xFFFFFFFF) + (total >> 32))
    image = bytearray(length)
    image[at : at + len(raw)] = raw
    return bytes(image)


def drbd(version: int = 8, length: int = 2 * MIB) -> bytes:
    """drbd-headers, drbd_meta_data.h: magic at byte 60, device UUID before it, all big-endian."""
    raw = bytearray(length)
    put(raw, length - 4096 + {8: 40, 9: 48}[version], ">Q", 0x0123456789ABCDEF)
    put(raw, length - 4096 + 60, ">I", 0x83740267 + {8: 4, 9: 6}[version])
    return bytes(raw)


def lvm(length: int = 4 * MIB, sector: int = 1) -> bytes:
    """LVM2, label.h struct label_header, layout.h struct pv_header."""
    raw = bytearray(512)
    put(raw, 0, "<8sQII8s", b"LABELONE", sector, 0, 32, b"LVM2 001")
    put(raw, 32, "<32sQ", b"0123456789abcdefghijklmnopqrstuv", length)
    put(raw, 16, "<I", crc32(bytes(raw[20:]), 0xF597A6CF))
    return bytes(sector * 512) + bytes(raw) + bytes(length - (sector + 1) * 512)


def zfs(order: str = "<", length: int = 64 * MIB) -> bytes:
    """OpenZFS, vdev_impl.h vdev_label_t, uberblock_impl.h, nvpair.h (XDR encoding)."""

    def pair(name: bytes, kind: int, value: bytes) -> bytes:
        body = struct.pack(">I", len(name)) + name + bytes(-len(name) % 4)
        body += struct.pack(">II", kind, 1) + value
        return struct.pack(">II", len(body) + 8, len(body) + 8) + body

    values = b"\1\1\0\0" + bytes(4) + struct.pack(">I", 1)
    values += pair(b"version", 8, struct.pack(">Q", 5000))
    values += pair(b"name", 9, struct.pack(">I", 4) + b"tank")
    values += pair(b"pool_guid", 8, struct.pack(">Q", 1234567890123456789))
    label = bytearray(256 << 10)
    put(label, 16 << 10, f"{len(values)}s", values)
    put(label, (128 << 10) - 40, order + "Q", 0x0210DA7AB10C7A11)
    for slot in range(4):
        put(label, (128 << 10) + slot * 1024, order + "QQQ", 0x00BAB10C, 5000, 10 + slot)
    return bytes(label) * 2 + bytes(length - (1024 << 10)) + bytes(label) * 2


def vmfs() -> bytes:
    """libblkid, vmfs.c, struct vmfs_fs_info at 2 MiB."""
    raw = bytearray(160)
    put(raw, 0, "<4sIB16sI128s", b"\x5e\xf1\xab\x2f", 0, 5, UUID, 0, NAME)
    return bytes(2 * MIB) + bytes(raw) + bytes(MIB)


def vmfs_volume() -> bytes:
    """libblkid, vmfs.c, struct vmfs_volume_info at 1 MiB, UUID as text 532 bytes on."""
    raw = bytearray(1024)
    put(raw, 0, "<4sI", b"\x0d\xd0\x01\xc0", 3)
    put(raw, 532, "35s", b"4d7a5b9c-1a2b3c4d-0123-001122334455")
    return bytes(MIB) + bytes(raw) + bytes(MIB)


def bitlocker() -> bytes:
    """libyal, "BitLocker Drive Encryption (BDE) format": Windows 7 header, metadata block."""
    raw = bytearray(MIB)
    put(raw, 0, "11s", b"\xeb\x58\x90-FVE-FS-")
    put(raw, 176, "<Q", 65536)
    put(raw, 510, "2s", b"\x55\xaa")
    put(raw, 65536, "<8sHH", b"-FVE-FS-", 64, 2)
    return bytes(raw)


def hfs_plus(wrapped: bool = False) -> bytes:
    """Apple TN1150: volume header, catalog header node, one leaf with the thread of the root."""
    block, catalog, node = 4096, 8, 4096
    raw = bytearray(2 * MIB)
    put(raw, 1024, ">2sHI", b"H+", 4, 0x100)
    put(raw, 1024 + 40, ">II", block, len(raw) // block)
    put(raw, 1024 + 104, ">8s", b"\1\2\3\4\5\6\7\x08")
    put(raw, 1024 + 272, ">QIIII", 2 * node, 0, 2, catalog, 2)
    put(raw, catalog * block + 8, ">Bb", 1, 0)  # header node
    put(raw, catalog * block + 14, ">HIIIIH", 1, 1, 1, 1, 1, node)
    name = "Röm".encode("utf-16-be")
    leaf = catalog * block + node
    put(raw, leaf + 8, ">BBH", 0xFF, 1, 1)
    put(raw, leaf + 14, f">HIH{len(name)}s", 6 + len(name), 1, len(name) // 2, name)
    if not wrapped:
        return bytes(raw)
    head = bytearray(65536)
    put(head, 1024, "2s", b"BD")
    put(head, 1024 + 18, ">HI4xH", 600, 4096, 16)  # blocks from sector 16 on
    put(head, 1024 + 124, ">2sHH", b"H+", 14, 512)  # 16 * 512 + 14 * 4096 = 65536
    return bytes(head) + bytes(raw)


def apfs(length: int = 4 * MIB) -> bytes:
    """Apple File System Reference, nx_superblock_t and the Fletcher-64 of obj_phys_t."""
    raw = bytearray(4096)
    put(raw, 8, "<QQHHHH4sIQ", 1, 1, 1, 0x8000, 0, 0, b"NXSB", 4096, length // 4096)
    put(raw, 72, "16s", UUID)
    low = high = 0
    for word in struct.unpack_from("<1022I", raw, 8):
        low = (low + word) % 0xFFFFFFFF
        high = (high + low) % 0xFFFFFFFF
    first = 0xFFFFFFFF - (low + high) % 0xFFFFFFFF
    put(raw, 0, "<II", first, 0xFFFFFFFF - (low + first) % 0xFFFFFFFF)
    return bytes(raw) + bytes(length - 4096)


def befs(order: str = "<", length: int = 2 * MIB) -> bytes:
    """Haiku, bfs.h, struct disk_super_block at byte 512; the root directory in block 8."""
    raw = bytearray(length)
    put(raw, 512, order + "32sIIIIQQ", NAME, 0x42465331, 0x42494745, 1024, 10, length // 1024, 9)
    put(raw, 512 + 64, order + "II", 232, 0xDD121031)
    put(raw, 512 + 72, order + "III", 1024, 13, 1)
    put(raw, 512 + 112, order + "I", 0x15B6830E)
    put(raw, 512 + 116, order + "IHH", 0, 8, 1)
    put(raw, 8192, order + "I", 0x3BBE0AD9)
    return bytes(raw)


def hpfs(length: int = 1 * MIB) -> bytes:
    """linux/fs/hpfs/hpfs.h: boot block, super block in sector 16, spare block in 17."""
    raw = bytearray(length)
    put(raw, 38, "<BI11s8s", 0x28, 0x1234ABCD, b"CRAFTED    ", b"HPFS    ")
    put(raw, 510, "2s", b"\x55\xaa")
    put(raw, 8192, "<8sBB2xII", b"\x49\xe8\x95\xf9\xc5\xe9\x53\xfa", 2, 2, 0, length // 512)
    put(raw, 8704, "8s", b"\x49\x18\x91\xf9\xc5\x29\x52\xfa")
    return bytes(raw)


def sysv() -> bytes:
    """linux/include/linux/sysv_fs.h, struct sysv4_super_block at byte 512."""
    raw = bytearray(64 << 10)
    put(raw, 512 + 440, "6s", b"sysv")
    put(raw, 512 + 504, "<II", 0xFD187E20, 2)
    return bytes(raw)


def xenix() -> bytes:
    """linux/include/linux/sysv_fs.h, struct xenix_super_block at byte 1024."""
    raw = bytearray(64 << 10)
    put(raw, 1024 + 632, "6s", b"xenix")
    put(raw, 1024 + 1016, "<II", 0x2B5544, 2)
    return bytes(raw)


def android_boot(
    version: int, *, kernel: int = 5000, ramdisk: int = 3000, last: int = 9000
) -> bytes:
    """AOSP bootimg.h; `last` is the second stage (0), recovery (1), device tree (2), signature."""
    raw = bytearray(4096)
    put(raw, 0, "8s", b"ANDROID!")
    put(raw, 8, "<I", kernel)
    put(raw, 40, "<I", version)
    if version >= 3:
        put(raw, 12, "<II", ramdisk, 0)
        put(raw, 20, "<I", {3: 1580, 4: 1584}[version])
        put(raw, 1580, "<I", last if version == 4 else 0)
        parts = [4096, kernel, ramdisk, last if version == 4 else 0]
        return padded(raw, parts, 4096)
    put(raw, 16, "<I", ramdisk)
    put(raw, 36, "<I", 2048)
    put(raw, 48, "16s", b"board")
    put(raw, {0: 24, 1: 1632, 2: 1648}[version], "<I", last)
    return padded(raw, [2048, kernel, ramdisk, last], 2048)


def vendor_boot(version: int) -> bytes:
    """AOSP bootimg.h, vendor_boot_img_hdr_v3 and v4."""
    raw = bytearray(4096)
    put(raw, 0, "<8sII", b"VNDRBOOT", version, 2048)
    put(raw, 24, "<I", 5000)
    put(raw, 2080, "16s", b"vendor")
    put(raw, 2096, "<II", {3: 2112, 4: 2128}[version], 3000)
    parts = [{3: 2112, 4: 2128}[version], 5000, 3000]
    if version == 4:
        put(raw, 2112, "<IIII", 216, 2, 108, 77)
        parts += [216, 77]
    return padded(raw, parts, 2048)


def padded(head: bytearray, sizes: list[int], page: int) -> bytes:
    """Fill up to the end of the parts, each rounded up to whole pages."""
    length = sum(-(-size // page) * page for size in sizes)
    return bytes(head[:length]) + b"\x5a" * (length - len(head))


def vbmeta(authentication: int = 320, auxiliary: int = 576) -> bytes:
    """AOSP avb_vbmeta_image.h, struct AvbVBMetaImageHeader."""
    raw = bytearray(256 + authentication + auxiliary)
    put(raw, 0, ">4sIIQQ", b"AVB0", 1, 0, authentication, auxiliary)
    return bytes(raw)


def avb_footer(length: int = 256 << 10) -> bytes:
    """AOSP avb_footer.h, struct AvbFooter, in the last 64 bytes."""
    raw, meta = bytearray(length), vbmeta()
    raw[:1000] = b"\x5a" * 1000
    raw[8192 : 8192 + len(meta)] = meta
    put(raw, length - 64, ">4sIIQQQ", b"AVBf", 1, 0, 1000, 8192, len(meta))
    return bytes(raw)


def android_super() -> bytes:
    """AOSP liblp, metadata_format.h, struct LpMetadataGeometry at byte 4096."""
    raw = bytearray(52)
    put(raw, 0, "<4sI32sIII", b"gDla", 52, b"", 65536, 2, 4096)
    raw[8:40] = hashlib.sha256(without(bytes(raw), 8, 32)).digest()
    return bytes(4096) + bytes(raw) + bytes(MIB)

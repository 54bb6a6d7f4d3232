# SPDX-License-Identifier: Apache-2.0
"""HFS, HFS+ and APFS.

Source: Apple, "Inside Macintosh: Files", chapter 2 (master directory block, byte 1024); Technical
Note TN1150 (HFS+ volume header, byte 1024; catalog; wrapper); "Apple File System Reference"
(nx_superblock_t, Fletcher-64 of the block). The UUID of HFS is blkid's: MD5 of Apple's name space
and the Finder's 8 bytes.

HFS and HFS+ keep their backup header at the end of the device, outside of the allocation
blocks, so that neither records its exact length.
"""

from __future__ import annotations

import hashlib
import struct
import uuid

from fsprobe.device import Device
from fsprobe.errors import ProbeError
from fsprobe.superblock import Superblock
from fsprobe.text import label_of, uuid_of

HEADER_AT = 1024
HFS, HFS_PLUS = b"BD", {b"H+": 4, b"HX": 5}  # signature and the version that goes with it
NAME_SPACE = bytes.fromhex("b3e20f39f29211d697a400306543ecac")
ROOT_PARENT = 1  # kHFSRootParentID
LEAF_NODE = 0xFF

APFS_MAGIC, APFS_BLOCK = b"NXSB", 4096


def probe_hfs(device: Device) -> Superblock | None:
    """HFS, unless it is only the wrapper of an HFS+ volume."""
    raw = device.read(HEADER_AT, 162)
    if len(raw) < 162 or raw[:2] != HFS or raw[124:126] in HFS_PLUS:
        return None
    blocks, size = struct.unpack_from(">HI", raw, 18)
    if blocks == 0 or size == 0 or size % 512 or raw[36] > 27:
        return None
    return Superblock(
        kind="hfs",
        length=None,
        block_size=size,
        label=label_of(raw[37 : 37 + raw[36]], "mac_roman"),
        uuid=_finder_uuid(raw[116:124]),
        weak=True,
    )


def probe_hfs_plus(device: Device) -> Superblock | None:
    """HFS+ and HFSX, in an HFS wrapper or by itself."""
    raw = device.read(HEADER_AT, 512)
    if len(raw) < 512:
        return None
    start = 0
    if raw[:2] == HFS and raw[124:126] in HFS_PLUS:
        size, first = struct.unpack_from(">I4xH", raw, 20)
        start = first * 512 + int.from_bytes(raw[126:128], "big") * size
        raw = device.read(start + HEADER_AT, 512)
    signature, version = raw[:2], int.from_bytes(raw[2:4], "big")
    if len(raw) < 512 or HFS_PLUS.get(signature) != version:
        return None
    (block_size,) = struct.unpack_from(">I", raw, 40)
    if block_size < 512 or block_size & (block_size - 1):
        raise ProbeError("corrupt", "hfsplus", f"allocation block of {block_size} bytes")
    (catalog,) = struct.unpack_from(">I", raw, 288)
    return Superblock(
        kind="hfsplus",
        length=None,
        block_size=block_size,
        label=_catalog_label(device, start + catalog * block_size),
        uuid=_finder_uuid(raw[104:112]),
        version=str(version),
    )


def _catalog_label(device: Device, catalog: int) -> str | None:
    """Return the key of the first leaf record, which is the volume's name.

    The leaf is looked for in the first extent of the catalog, where a new volume has it.
    """
    head = device.read(catalog, 34)
    if len(head) < 34:
        return None
    (leaf,) = struct.unpack_from(">I", head, 24)
    (node_size,) = struct.unpack_from(">H", head, 32)
    node = device.read(catalog + leaf * node_size, 14 + 8 + 2 * 255)
    if len(node) < 22 or node[8] != LEAF_NODE:
        return None
    parent, count = struct.unpack_from(">IH", node, 16)
    if parent != ROOT_PARENT or count > 255:
        return None
    return label_of(node[22 : 22 + 2 * count], "utf-16-be")


def _finder_uuid(raw: bytes) -> str | None:
    if not any(raw):
        return None
    digest = hashlib.md5(NAME_SPACE + raw, usedforsecurity=False).digest()
    return str(uuid.UUID(bytes=digest, version=3))


def probe_apfs(device: Device) -> Superblock | None:
    """APFS container. Length: count of blocks times their size.

    Raises:
        ProbeError: a container superblock with a wrong checksum.
    """
    raw = device.read(0, APFS_BLOCK)
    if len(raw) < APFS_BLOCK or raw[32:36] != APFS_MAGIC:
        return None
    (block_size, count) = struct.unpack_from("<IQ", raw, 36)
    if block_size != APFS_BLOCK:
        raise ProbeError("corrupt", "apfs", f"blocks of {block_size} bytes")
    if _fletcher(raw[8:]) != int.from_bytes(raw[:8], "little"):
        raise ProbeError("corrupt", "apfs", "the checksum is wrong")
    return Superblock(
        kind="apfs", length=count * block_size, block_size=block_size, uuid=uuid_of(raw[72:88])
    )


def _fletcher(raw: bytes) -> int:
    low = high = 0
    for word in struct.unpack(f"<{len(raw) // 4}I", raw):
        low += word
        high += low
    first = 0xFFFFFFFF - (low + high) % 0xFFFFFFFF
    return (0xFFFFFFFF - (low + first) % 0xFFFFFFFF) << 32 | first

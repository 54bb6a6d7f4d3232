# SPDX-License-Identifier: Apache-2.0
"""dm-verity: a hash device, or a hash tree that follows the file system it protects.

Source: cryptsetup's on-disk format (lib/verity/verity.c, struct verity_sb) and hash_levels() in
lib/verity/verity_hash.c.
"""

from __future__ import annotations

import struct
from dataclasses import replace

from fsprobe.device import Device
from fsprobe.errors import ProbeError
from fsprobe.superblock import Superblock
from fsprobe.text import label_of, uuid_of

KIND = "DM_verity_hash"
MAGIC = b"verity\0\0"
SIZE = 512
MAX_BLOCK_LOG = 19  # VERITY_BLOCK_SIZE_OK: 512 bytes to 512 KiB
DIGEST_SIZES = {
    "md5": 16,
    "ripemd160": 20,
    "sha1": 20,
    "sha224": 28,
    "sha256": 32,
    "sha384": 48,
    "sha512": 64,
    "sha3-224": 28,
    "sha3-256": 32,
    "sha3-384": 48,
    "sha3-512": 64,
    "blake2b-160": 20,
    "blake2b-256": 32,
    "blake2b-384": 48,
    "blake2b-512": 64,
    "blake2s-128": 16,
    "blake2s-160": 20,
    "blake2s-224": 28,
    "blake2s-256": 32,
    "sm3": 32,
    "streebog256": 32,
    "stribog256": 32,
    "streebog512": 64,
    "stribog512": 64,
    "whirlpool": 64,
}
"""Bytes by the names that cryptsetup writes."""


def probe(device: Device) -> Superblock | None:
    """A hash device of its own. Length: superblock and hash tree."""
    raw = device.read(0, SIZE)
    if len(raw) < SIZE or raw[:8] != MAGIC:
        return None
    return _parse(raw, 0)


def with_hash_tree(device: Device, found: Superblock) -> Superblock:
    """Extend a file system by the hash tree that follows it, if one does.

    The tree is looked for at the end of the file system rounded up to each possible hash block
    size, and has to protect all of it.

    Raises:
        ProbeError: the tree's superblock is corrupt, or the device ends within the tree.
    """
    if found.length is None or found.kind == KIND:
        return found
    starts = {-(-found.length // (1 << log)) << log for log in range(9, MAX_BLOCK_LOG + 1)}
    for start in sorted(starts):
        raw = device.read(start, SIZE)
        if len(raw) < SIZE or raw[:8] != MAGIC:
            continue
        tree = _parse(raw, start)
        data_block, _, data_blocks = struct.unpack_from("<IIQ", raw, 64)
        if not found.length - data_block < data_blocks * data_block <= start:
            continue
        assert tree.length is not None
        if tree.length > device.length:
            raise ProbeError("truncated", KIND, f"the tree ends at byte {tree.length}")
        return replace(found, length=tree.length, hash_tree_length=tree.length - start)
    return found


def _parse(raw: bytes, start: int) -> Superblock:
    """Check a superblock read at `start`; the length is the absolute end of its tree."""
    version, hash_type = struct.unpack_from("<II", raw, 8)
    data_block, hash_block, data_blocks, salt_size = struct.unpack_from("<IIQH", raw, 64)
    digest_size = DIGEST_SIZES.get(label_of(raw[32:64]) or "")
    if version != 1 or hash_type > 1 or salt_size > 256 or data_blocks == 0:
        raise ProbeError("corrupt", KIND, f"version {version}, hash type {hash_type}")
    for size in (data_block, hash_block):
        if size & (size - 1) or not 512 <= size <= 1 << MAX_BLOCK_LOG:
            raise ProbeError("corrupt", KIND, f"data block {data_block}, hash block {hash_block}")
    if digest_size is None:
        raise ProbeError("corrupt", KIND, "unknown digest")
    per_block_log = (hash_block // digest_size).bit_length() - 1
    blocks = -(-(start + SIZE) // hash_block)  # the tree begins in the next whole hash block
    shift = 0
    while (data_blocks - 1) >> shift:
        shift += per_block_log
        blocks += (data_blocks + (1 << shift) - 1) >> shift
    return Superblock(
        kind=KIND,
        length=blocks * hash_block,
        block_size=hash_block,
        uuid=uuid_of(raw[16:32]),
        version=str(version),
    )

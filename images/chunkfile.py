# SPDX-License-Identifier: Apache-2.0
"""Chunk files: names, magic numbers, and the checks between a stored body and a chunk.

Rules: docs/formats.md, "Chunk files". A compressed file has a suffix and holds one xz, gzip or zstd
stream, told apart by its first bytes; a file without suffix holds the chunk as it is.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from images.compression import Compression, compress, decompress, decompress_pieces
from images.digests import Buffer, ChunkId, Digest
from images.errors import ChunkInvalid, SettingInvalid

SUFFIX_VARIABLE = "CASYNC_COMPRESSED_CHUNK_SUFFIX"

MAGIC = {
    Compression.XZ: b"\xfd7zXZ\0",
    Compression.GZIP: b"\x1f\x8b",
    Compression.ZSTD: b"\x28\xb5\x2f\xfd",
}

_NAME = re.compile(r"[0-9a-f]{64}")


def compressed_suffix() -> str:
    """Return `.cacnk`, or what the environment says for very old stores.

    Raises:
        SettingInvalid: the variable holds nothing, or no part of a file name.
    """
    suffix = os.environ.get(SUFFIX_VARIABLE, ".cacnk")
    if not suffix or "/" in suffix:
        raise SettingInvalid(f"{SUFFIX_VARIABLE}={suffix!r} is not a suffix of a file name")
    return suffix


def relative_path(chunk_id: ChunkId, suffix: str) -> str:
    """Return where a chunk is below the root of a store; the suffix is empty for a raw one."""
    name = chunk_id.hex()
    return f"{name[:4]}/{name}{suffix}"


def id_of_name(name: str) -> tuple[ChunkId, str] | None:
    """Return the id and the suffix of a file name; None where it does not begin with an id."""
    match = _NAME.match(name)
    return None if match is None else (ChunkId(bytes.fromhex(match[0])), name[match.end() :])


def longest_body(length: int) -> int:
    """Return the most bytes that a compressed chunk of `length` bytes may reasonably have.

    What cannot be compressed grows by less than a thousandth and a header of under 100 bytes in
    all three formats; this leaves much room, and still ends an endless answer.
    """
    return length + length // 16 + 1024


def detect(body: Buffer) -> Compression:
    """Return the algorithm of a compressed body.

    Raises:
        ChunkInvalid: it begins like none of the three.
    """
    start = bytes(body[:6])
    for algorithm, magic in MAGIC.items():
        if start.startswith(magic):
            return algorithm
    raise ChunkInvalid(f"neither xz, gzip nor zstd: begins with {start.hex() or 'nothing'}")


def encode(data: Buffer, algorithm: Compression) -> bytes:
    """Return the body of a compressed chunk file."""
    return compress(data, algorithm)


def decode(
    body: Buffer, length: int, chunk_id: ChunkId, digest: Digest, compressed: bool = True
) -> bytes:
    """Return the chunk that a body holds, of exactly this length and id.

    Raises:
        ChunkInvalid: anything else; the message says what, beginning with the id.
    """
    data = unpack(body, length, chunk_id, compressed)
    check_id(digest.of(data), chunk_id)
    return data


def unpack(body: Buffer, length: int, chunk_id: ChunkId, compressed: bool = True) -> bytes:
    """Return what a body holds, of exactly this length, for the caller to digest.

    Raises:
        ChunkInvalid: anything else; the message says what, beginning with the id.
    """
    try:
        data = _unpack(body, length) if compressed else bytes(body[: length + 1])
    except ChunkInvalid as error:
        raise ChunkInvalid(f"chunk {chunk_id.hex()}: {error}") from error
    if len(data) != length:
        raise ChunkInvalid(f"chunk {chunk_id.hex()}: {len(data)} bytes where {length} should be")
    return data


def check_id(found: ChunkId, chunk_id: ChunkId) -> None:
    """Compare the digest of a chunk's content with its id.

    Raises:
        ChunkInvalid: they differ.
    """
    if found != chunk_id:
        raise ChunkInvalid(f"chunk {chunk_id.hex()}: its content has the digest {found.hex()}")


def _unpack(body: Buffer, length: int) -> bytes:
    if len(body) > longest_body(length):
        raise ChunkInvalid(f"a body of {len(body)} bytes is too long for {length} bytes")
    return decompress(body, detect(body), length)


def pieces(blocks: Iterator[bytes], compressed: bool, limit: int) -> Iterator[bytes]:
    """Yield the content of a chunk file that is read in blocks; for when the length is not known.

    Raises:
        ChunkInvalid: it is damaged, empty, or its content is longer than `limit`.
    """
    first = next(blocks, b"")
    if compressed:
        yield from decompress_pieces(_chain(first, blocks), detect(first), limit)
        return
    left = limit
    for block in _chain(first, blocks):
        left -= len(block)
        if left < 0:
            raise ChunkInvalid(f"more than {limit} bytes")
        yield block


def _chain(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest

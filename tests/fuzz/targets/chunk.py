# SPDX-License-Identifier: Apache-2.0
"""Any body is refused, or holds a chunk of exactly the length that was asked for.

Two bytes of length, then the body of a chunk file.
"""

from __future__ import annotations

import lzma
import zlib
from collections.abc import Iterator
from functools import cache

from images import zstd
from images.chunkfile import detect, longest_body, pieces, unpack
from images.compression import PIECE, Compression
from images.digests import ChunkId
from images.errors import ChunkInvalid

LONGEST = 2048
ID = ChunkId(bytes(32))
LONGEST_MAGIC = 6
"""Bytes that the first block has at the least."""


def fuzz(data: bytes) -> bool:
    length, body = int.from_bytes(data[:2], "little"), data[2:]
    whole = _unpacked(body, length)
    raw = _unpacked(body, length, compressed=False)
    assert (raw is not None) == (len(body) == length) and raw in (None, body)
    # In blocks of any size the same comes out, never more than the limit, or the same refusal.
    for block in (LONGEST_MAGIC, 64, len(body) + 1):
        got, refused = b"", False
        try:
            for piece in pieces(_blocks(body, block), compressed=True, limit=length):
                assert 0 < len(piece) <= PIECE
                got += piece
        except ChunkInvalid:
            refused = True
        assert len(got) <= length
        if whole is not None:
            assert (got, refused) == (whole, False)
            assert got == _by_the_library(body)
        elif not refused:
            # `pieces` does not know the length, and knows no body as too long for it.
            assert len(got) < length or len(body) > longest_body(length)
    return whole is not None


def _unpacked(body: bytes, length: int, compressed: bool = True) -> bytes | None:
    try:
        found = unpack(body, length, ID, compressed)
    except ChunkInvalid:
        return None
    assert len(found) == length
    return found


def _by_the_library(body: bytes) -> bytes:
    """Decompress with nothing of ours around: what we take has to mean the same there."""
    match detect(body):
        case Compression.XZ:
            return lzma.decompress(body, lzma.FORMAT_XZ)
        case Compression.GZIP:
            return zlib.decompress(body, wbits=16 + zlib.MAX_WBITS)
        case Compression.ZSTD:
            return _system_zstd().decoder().decompress(body, 1 << 17)


@cache
def _system_zstd() -> zstd.Library:
    """Return another build of the library than the one that is used."""
    return zstd.shared_object()


def _blocks(body: bytes, size: int) -> Iterator[bytes]:
    yield from (body[at : at + size] for at in range(0, len(body), size))

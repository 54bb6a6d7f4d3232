# SPDX-License-Identifier: Apache-2.0
"""The three compressions of chunk files, and decompression that nobody can blow up.

Algorithms and settings: docs/formats.md, "Chunk files". One frame or stream, nothing after it; the
output is taken in pieces and refused at the first byte above the caller's limit, whatever the
stream claims about itself.
"""

from __future__ import annotations

import enum
import lzma
import zlib
from collections.abc import Iterable, Iterator

from images import zstd
from images.digests import Buffer
from images.errors import ChunkInvalid, SettingInvalid
from images.sizes import LIMIT

PIECE = 1 << 20
"""The most bytes that one step of decompression hands out."""

XZ_MEMORY = LIMIT + (1 << 20)
"""What an xz stream may ask for: a dictionary as large as the largest chunk."""


class Compression(enum.Enum):
    """The value is casync's name for it."""

    ZSTD = "zstd"
    XZ = "xz"
    GZIP = "gzip"

    @classmethod
    def parse(cls, text: str) -> Compression:
        """Read the value of `--compression`.

        Raises:
            SettingInvalid: not a compression that casync knows.
        """
        if text == "default":
            return cls.ZSTD
        try:
            return cls(text)
        except ValueError:
            raise SettingInvalid(
                f"unknown compression {text!r}", hint="zstd, xz, gzip or default"
            ) from None


def compress(data: Buffer, algorithm: Compression) -> bytes:
    """Return one frame or stream, with the settings of casync."""
    match algorithm:
        case Compression.ZSTD:
            return zstd.library().compress(data)
        case Compression.XZ:
            return lzma.compress(data, lzma.FORMAT_XZ, lzma.CHECK_CRC64, preset=6)
        case Compression.GZIP:
            return zlib.compress(data, wbits=16 + zlib.MAX_WBITS)


def decompress(body: Buffer, algorithm: Compression, limit: int) -> bytes:
    """Return the content of a whole frame or stream, at most `limit` bytes.

    Raises:
        ChunkInvalid: it is damaged, truncated, followed by something, or longer than `limit`.
    """
    return b"".join(decompress_pieces((body,), algorithm, limit))


def decompress_pieces(
    blocks: Iterable[Buffer], algorithm: Compression, limit: int
) -> Iterator[bytes]:
    """Yield the content of a frame or stream that comes in blocks, `PIECE` bytes at most a time.

    Raises:
        ChunkInvalid: as for `decompress`; pieces before the fault have been yielded by then.
    """
    decoder, left = _decoder(algorithm), limit
    for block in blocks:
        while not decoder.eof:
            try:
                piece = decoder.decompress(block, min(PIECE, left + 1))
            except (lzma.LZMAError, zlib.error, _zstd_error(algorithm)) as error:
                raise ChunkInvalid(f"damaged {algorithm.value} stream: {error}") from error
            if len(piece) > left:
                raise ChunkInvalid(f"{algorithm.value} stream of more than {limit} bytes")
            left -= len(piece)
            if piece:
                yield piece
            block = b""
            if decoder.needs_input:
                break
        if decoder.eof and (block or decoder.unused_data):
            raise ChunkInvalid(f"something follows the end of the {algorithm.value} stream")
    if not decoder.eof:
        raise ChunkInvalid(f"truncated {algorithm.value} stream")


def _decoder(algorithm: Compression) -> zstd.Decoder:
    match algorithm:
        case Compression.ZSTD:
            return zstd.library().decoder()
        case Compression.XZ:
            return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=XZ_MEMORY)
        case Compression.GZIP:
            return _GzipDecoder()


def _zstd_error(algorithm: Compression) -> type[Exception]:
    return zstd.library().error if algorithm is Compression.ZSTD else lzma.LZMAError


class _GzipDecoder:
    """`zlib.decompressobj` with the interface of the others."""

    def __init__(self) -> None:
        self._stream = zlib.decompressobj(16 + zlib.MAX_WBITS)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._stream.eof

    @property
    def unused_data(self) -> bytes:
        return self._stream.unused_data

    def decompress(self, data: Buffer, max_length: int) -> bytes:
        tail = self._stream.unconsumed_tail
        piece = self._stream.decompress(tail + data if tail else data, max_length)
        # A full piece may leave output inside zlib although all input is taken.
        self.needs_input = not self._stream.unconsumed_tail and len(piece) < max_length
        return piece

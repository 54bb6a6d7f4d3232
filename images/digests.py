# SPDX-License-Identifier: Apache-2.0
"""The two digests of casync, and chunk ids.

`sha512_256` comes from OpenSSL through hashlib; a Python built without it cannot work, which is
found at the first use and not in the middle of an update. Several chunks at once are digested side
by side in the lanes of a vector, where the CPU has a kernel for that (`_native/digest_lanes.h`).
There is none for ARM: OpenSSL uses the SHA-512 instructions where there are any, and without them
two lanes gain nothing.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Sequence
from functools import cache
from typing import NewType, Protocol, TypeAlias

from images._native import _kernels
from images.errors import NotAccessible, SettingInvalid
from images.kernels import choose_digest_kernel

ChunkId = NewType("ChunkId", bytes)
"""The 32-byte digest of a chunk's uncompressed bytes."""

Buffer: TypeAlias = bytes | bytearray | memoryview

LENGTH = 32
"""Bytes of a digest, of either algorithm."""

_LEAST_PIECES = 2
"""One piece fills one lane, and OpenSSL is faster than that: 0.53 GB/s where a lane of AVX2 has 0.3
(AMD EPYC, Zen 3)."""


class Hash(Protocol):
    """What hashlib returns."""

    def update(self, data: Buffer, /) -> None:
        """Take in more bytes; the interpreter lock is released for large ones."""

    def digest(self) -> bytes:
        """Return the 32 bytes so far."""

    def hexdigest(self) -> str:
        """Return the digest as lower-case hex."""


class Digest(enum.Enum):
    """The algorithm of chunk ids and of whole images; the value is casync's name for it."""

    SHA512_256 = "sha512-256"
    SHA256 = "sha256"

    def new(self) -> Hash:
        """Start a hash."""
        _check_available(self)
        return hashlib.new(_HASHLIB_NAME[self])

    def of(self, data: Buffer) -> ChunkId:
        """Return the digest of one buffer; the interpreter lock is released meanwhile."""
        _check_available(self)
        return ChunkId(hashlib.new(_HASHLIB_NAME[self], data).digest())

    def of_each(self, pieces: list[Buffer]) -> list[ChunkId]:
        """Return the digest of each buffer; the interpreter lock is released meanwhile.

        Many at once, a megabyte or more, is what makes this fast.
        """
        kernel = choose_digest_kernel() if self is Digest.SHA512_256 else None
        if kernel is None or len(pieces) < _LEAST_PIECES:
            return [self.of(piece) for piece in pieces]
        packed = _kernels.digest_each(kernel, pieces)
        return [ChunkId(packed[at : at + LENGTH]) for at in range(0, len(packed), LENGTH)]

    def of_chunks(
        self, chunks: Sequence[Buffer], maximum: int, *, zero: bool = False
    ) -> list[ChunkId]:
        """Return the digests of chunks; zeros of maximum length are digested once for all.

        Zeros never cut at the sizes in use, so runs of them are chunks of that length.

        Args:
            chunks: of one run or span.
            maximum: length that a chunk may have.
            zero: the bytes are known to be zeros.
        """
        zeros = [len(c) == maximum and (zero or _kernels.is_zero(c)) for c in chunks]
        if not any(zeros):
            return self.of_each(list(chunks))
        others = iter(
            self.of_each([c for c, is_zero in zip(chunks, zeros, strict=True) if not is_zero])
        )
        return [self.of_zeros(maximum) if is_zero else next(others) for is_zero in zeros]

    def of_zeros(self, length: int) -> ChunkId:
        """Return the digest of `length` zero bytes, computed once per length."""
        return _digest_of_zeros(self, length)

    @classmethod
    def parse(cls, text: str) -> Digest:
        """Read the value of `--digest`.

        Raises:
            SettingInvalid: not a digest that casync knows.
        """
        if text == "default":
            return cls.SHA512_256
        try:
            return cls(text)
        except ValueError:
            raise SettingInvalid(
                f"unknown digest {text!r}", hint="sha512-256, sha256 or default"
            ) from None


_HASHLIB_NAME = {Digest.SHA512_256: "sha512_256", Digest.SHA256: "sha256"}

_EMPTY = {  # FIPS 180-4: the digest of no bytes
    Digest.SHA512_256: "c672b8d1ef56ed28ab87c3622c5114069bdd3ad7b8f9737498d0c01ecef0967a",
    Digest.SHA256: "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
}


@cache
def _check_available(digest: Digest) -> None:
    try:
        known = hashlib.new(_HASHLIB_NAME[digest]).hexdigest() == _EMPTY[digest]
    except ValueError:
        known = False
    if not known:
        raise NotAccessible(
            f"this Python has no {digest.value}",
            hint="use a Python that is built with OpenSSL 1.1.1 or newer",
        )


@cache
def _digest_of_zeros(digest: Digest, length: int) -> ChunkId:
    state = digest.new()
    block = bytes(min(length, 1 << 20))
    for _ in range(length // (1 << 20)):
        state.update(block)
    state.update(block[: length % (1 << 20)])
    return ChunkId(state.digest())

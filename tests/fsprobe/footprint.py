# SPDX-License-Identifier: Apache-2.0
"""The part of an image that a probe looks at: all that a hostile change can matter in."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

from fsprobe import ProbeError, Superblock, probe

GRAIN = 512
SCAN = 128 << 10
"""A longer read looks for something: what it passes over is no part of the footprint."""


@dataclass(frozen=True, slots=True)
class Footprint:
    """Length of an image, and the non-zero sectors in it that `probe` reads, by offset."""

    length: int
    sectors: dict[int, bytes]

    def to_bytes(self) -> bytes:
        """Return the form that `decoded` reads: length, then offset, size and bytes of each run."""
        parts = [struct.pack("<Q", self.length)]
        for offset, data in self.sectors.items():
            parts.append(struct.pack("<QH", offset, len(data)) + data)
        return b"".join(parts)


class Footprints(dict[str, Footprint]):
    """By name of the sample; a failing example shall not print them all."""

    def __repr__(self) -> str:
        return f"<{len(self)} footprints>"


def decoded(raw: bytes, longest: int = 1 << 50) -> Footprint:
    """Read any bytes as a footprint: the inverse of `to_bytes`, for the fuzzer."""
    length = int.from_bytes(raw[:8], "little") % longest
    sectors: dict[int, bytes] = {}
    at = 8
    while at + 10 <= len(raw):
        offset, size = struct.unpack_from("<QH", raw, at)
        sectors[offset % longest] = raw[at + 10 : at + 10 + size]
        at += 10 + size
    return Footprint(length, sectors)


def footprint(image: Path) -> Footprint:
    """Probe an image and note what was read."""
    read: dict[int, bytes] = {}
    pread = os.pread

    def noting(fd: int, length: int, offset: int) -> bytes:
        start = offset - offset % GRAIN
        end = -(-(offset + length) // GRAIN) * GRAIN
        around = pread(fd, end - start, start)
        for at in range(0, len(around), GRAIN):
            sector = around[at : at + GRAIN]
            if any(sector) and length <= SCAN:
                read[start + at] = sector
        return pread(fd, length, offset)

    with mock.patch("os.pread", noting):
        probe(image)
    return Footprint(image.stat().st_size, read)


@contextmanager
def laid_out(*parts: Footprint, length: int | None = None) -> Iterator[int]:
    """Write footprints over each other into a sparse memory file and lend its descriptor."""
    fd = os.memfd_create("image")
    try:
        end = max(part.length for part in parts) if length is None else length
        for part in parts:
            for offset, data in part.sectors.items():
                if offset < end:
                    os.pwrite(fd, data[: end - offset], offset)
        os.truncate(fd, end)
        yield fd
    finally:
        os.close(fd)


def answer(fd: int) -> Superblock | ProbeError | None:
    """Probe, and hold what holds for every input; any other exception fails the test."""
    try:
        found = probe(fd)
    except ProbeError as error:
        assert error.code in ("probe.truncated", "probe.corrupt", "probe.ambiguous")
        assert error.kind
        assert error.hint
        return error
    if found is not None and found.length is not None:
        assert 0 < found.length <= os.fstat(fd).st_size
        assert 0 <= found.hash_tree_length < found.length
    return found

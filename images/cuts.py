# SPDX-License-Identifier: Apache-2.0
"""Where chunks end: the marks of the scan kernels, and casync's rule of minimum and maximum.

A kernel marks every position whose 48 bytes pass the cut test, in any order and by any number of
threads. `CutRule` then walks over these marks once, in order. Rule: docs/formats.md, "When to cut".
"""

from __future__ import annotations

from images._native import _kernels
from images.digests import Buffer
from images.sizes import WINDOW, ChunkSizes


def scan_block(kernel: str, data: Buffer, bits: Buffer, sizes: ChunkSizes) -> None:
    """Mark the candidate cuts of `data[48:]`; the interpreter lock is released.

    Args:
        kernel: one that `choose_kernel` may return.
        data: the 48 bytes before the block (any, where the blob starts), then the block.
        bits: writable and 8-byte aligned, 8 bytes for each 64 bytes of the block.
        sizes: gives the discriminator.
    """
    _kernels.scan(kernel, data, bits, sizes.discriminator)


def first_test(sizes: ChunkSizes) -> int:
    """Return how many bytes a chunk has at the first position where it may be cut."""
    return max(sizes.minimum, WINDOW)


def may_be_chunk(bits: Buffer, start: int, end: int, sizes: ChunkSizes, *, last: bool) -> bool:
    """Tell whether the marks allow a chunk: one mark, at its end, or none where it is cut by force.

    Args:
        bits: of a block, as `scan_block` wrote them.
        start: of the chunk, from the block's first byte on; negative where it begins before: what
            lies there is not looked at.
        end: of the chunk, within the block.
        sizes: not of fixed-size mode.
        last: the blob ends there.
    """
    mark = _kernels.find_bit(bits, max(start + first_test(sizes) - 1, 0), end)
    forced = last or end - start == sizes.maximum
    return mark == end - 1 or (forced and mark == end)


class CutRule:
    """Casync's rule of minimum and maximum over the marks of consecutive blocks.

    No test is made before a chunk has max(minimum, 48) bytes; it is cut at the maximum in any
    case. As with casync, a maximum below 48 that is not of fixed-size mode cuts at 48.
    """

    def __init__(self, sizes: ChunkSizes) -> None:
        self._fixed = sizes.average if sizes.fixed else None
        self._first = first_test(sizes)
        self._forced = max(sizes.maximum, WINDOW)
        self._start = 0
        self._position = 0

    def feed(self, bits: Buffer, length: int) -> list[int]:
        """Take the marks of the next block and return the chunk ends found in it.

        Args:
            bits: as `scan_block` wrote them; not looked at in fixed-size mode.
            length: of the block, in bytes.

        Returns:
            Offsets from the start of the first block, ascending; an end is that of a chunk's last
            byte plus 1, and lies in `length` bytes from the block's start, the last one included.
        """
        base = self._position
        self._position += length
        if self._fixed is not None:
            ends = list(range(self._start + self._fixed, self._position + 1, self._fixed))
        else:
            ends = self._ends(bits, base, length)
        if ends:
            self._start = ends[-1]
        return ends

    def _ends(self, bits: Buffer, base: int, length: int) -> list[int]:
        ends: list[int] = []
        find_bit, first, forced = _kernels.find_bit, self._first - 1, self._forced - 1
        start = self._start - base
        while True:
            stop = min(start + forced, length)
            last = find_bit(bits, max(start + first, 0), stop)
            if last == length:
                return ends
            start = last + 1
            ends.append(base + start)

    def finish(self) -> int | None:
        """Return the end of the last, possibly short chunk; None when nothing is left over."""
        if self._position == self._start:
            return None
        self._start = self._position
        return self._start

# SPDX-License-Identifier: Apache-2.0
"""Does a device or file hold the image of an index? Read from the medium, past the page cache."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from dataclasses import dataclass

from images.check import verify
from images.errors import TargetTooSmall
from images.events import EventSink
from images.index import Index
from images.specs import TargetSpec
from updater.units import count_of, format_bytes

SHOWN = 5
"""Wrong ranges that are told of."""


@dataclass(frozen=True, slots=True)
class Range:
    """Bytes of a target, relative to the start of the image."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class TargetResult:
    """What a target was found to hold.

    Attributes:
        wrong_chunks, wrong_bytes: before any repair.
        wrong: the first ranges, adjacent chunks joined.
        excess_bytes: that a file has behind the image.
        repaired: all of it was mended and read back.
    """

    target: str
    chunks: int
    image_bytes: int
    wrong_chunks: int
    wrong_bytes: int
    wrong: tuple[Range, ...]
    excess_bytes: int
    repaired: bool = False


def check_target(
    index: Index, spec: TargetSpec, threads: int | None, sink: EventSink
) -> TargetResult:
    """Digest everything where it should stand.

    Raises:
        NotAccessible, DeviceFault: it cannot be read.
        TargetTooSmall: the region cannot hold the image.
    """
    name, end = str(spec.path), index.blob_length
    if spec.length is not None and spec.length < end:
        raise TargetTooSmall(f"the image has {end} bytes, the region {spec.length}")
    right = verify(index, spec.path, offset=spec.offset, sink=sink, threads=threads)
    status = spec.path.stat()
    whole_file = stat.S_ISREG(status.st_mode) and not spec.region
    wrong_bytes = 0
    first: list[Range] = []
    for wrong in _wrong_ranges(index, right):
        wrong_bytes += wrong.end - wrong.start
        if len(first) < SHOWN:
            first.append(wrong)
    return TargetResult(
        name,
        len(index),
        end,
        right.count(0),
        wrong_bytes,
        tuple(first),
        max(0, status.st_size - end) if whole_file else 0,
    )


def _wrong_ranges(index: Index, right: bytearray) -> Iterator[Range]:
    number = right.find(0)
    while number >= 0:
        stop = right.find(1, number)
        stop = len(right) if stop < 0 else stop
        yield Range(index.start(number), index.end(stop - 1))
        number = right.find(0, stop)


def target_lines(found: TargetResult) -> list[str]:
    """Return the finding as text."""
    size = format_bytes(found.image_bytes)
    if not found.wrong_chunks and not found.excess_bytes:
        return [f"{found.target}: all {count_of(found.chunks, 'chunk')} are right ({size})"]
    lines = []
    if found.wrong_chunks:
        lines.append(
            f"{found.target}: {found.wrong_chunks:,} of {count_of(found.chunks, 'chunk')} wrong, "
            f"{format_bytes(found.wrong_bytes)} of {size}"
        )
        lines += [f"  bytes {wrong.start} to {wrong.end}" for wrong in found.wrong]
        if sum(wrong.end - wrong.start for wrong in found.wrong) < found.wrong_bytes:
            lines.append("  and more")
    if found.excess_bytes:
        lines.append(f"{found.target}: {found.excess_bytes} bytes behind the image")
    if found.repaired:
        lines.append("repaired, and read back")
    return lines

# SPDX-License-Identifier: Apache-2.0
"""Compare what stands at the index's own positions with the index.

The same pass is the first one of an update (what is right already stays), the last one (what was
written is read back), and the whole of `verify`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from images.durable import os_errors
from images.events import EventSink, Phase, Progress, ignore
from images.index import Index
from images.parallel import Scratch, default_threads, each
from images.reading import BLOCK, past_cache, read_medium
from images.runs import FileRegion

SPAN_LENGTH = 2 << 20
"""Bytes that one thread reads and digests at a time, unless a single chunk is longer: they fill the
lanes of a digest."""


def spans(index: Index, limit: int = SPAN_LENGTH) -> Iterator[tuple[int, int]]:
    """Yield runs of chunk numbers `(first, stop)` of at most `limit` bytes, or of one chunk."""
    first = 0
    while first < len(index):
        stop = index.find(index.start(first) + limit)
        yield first, max(stop, first + 1)
        first = max(stop, first + 1)


def matching_chunks(
    fd: int, offset: int, index: Index, phase: Phase, sink: EventSink, threads: int
) -> bytearray:
    """Digest every chunk where it should stand, read from the medium.

    Args:
        fd: a file or block device.
        offset: where in it the blob begins.
        index: what should be there.
        phase: what to call this in progress events.
        sink: takes progress events.
        threads: how many to use.

    Returns:
        One byte a chunk: 1 where the content is right, else 0. Past the end of the file is wrong.

    Raises:
        OSError: a read failed.
    """
    right = bytearray(len(index))
    scratch = Scratch(SPAN_LENGTH + 2 * BLOCK)
    whole = FileRegion(fd, offset, index.blob_length)

    def check(direct: int | None, span: tuple[int, int]) -> int:
        first, stop = span
        base, end = index.start(first), index.end(stop - 1)
        lead = (offset + base) % BLOCK
        buffer = scratch.take(-(-(lead + end - base) // BLOCK) * BLOCK)
        if whole.is_hole(base, end - base):
            buffer[:] = bytes(len(buffer))
        else:
            buffer = buffer[: read_medium(direct, fd, offset + base - lead, buffer)]
        right[first:stop] = right_chunks(index, first, stop, buffer[lead : lead + end - base])
        return end - base

    done, total = 0, index.blob_length
    sink(Progress(phase, done, total))
    with past_cache(fd) as direct:
        # Half of the threads wait for the medium while the others digest.
        for length in each(spans(index), partial(check, direct), 2 * threads):
            done += length
            sink(Progress(phase, done, total))
    return right


def right_chunks(index: Index, first: int, stop: int, data: memoryview) -> bytes:
    """Digest chunks that should stand one after the other in `data`.

    Args:
        index: what should be there.
        first: number of the chunk that begins with the first byte.
        stop: number of the chunk after the last one.
        data: may be too short; what is cut off is wrong.

    Returns:
        One byte a chunk: 1 where the content is right, else 0.
    """
    base = index.start(first)
    chunks = list(index.chunks(first, stop))
    pieces = [
        data[start - base : end - base] for start, end, _ in chunks if end - base <= len(data)
    ]
    found = index.digest.of_chunks(pieces, index.sizes.maximum)
    right = bytes(have == want for have, (_, _, want) in zip(found, chunks, strict=False))
    return right.ljust(len(chunks), b"\0")


def verify(
    index: Index,
    path: Path,
    *,
    offset: int = 0,
    sink: EventSink = ignore,
    threads: int | None = None,
) -> bytearray:
    """Compare a device or file with an index, reading from the medium.

    Args:
        index: what should be there.
        path: block device or file.
        offset: where in it the image begins.
        sink: takes progress events.
        threads: None for as many as there are cores.

    Returns:
        One byte a chunk: 1 where the content is right, else 0.

    Raises:
        NotAccessible, DeviceFault: it cannot be opened or read.
    """
    with os_errors(str(path)):
        # A FIFO must fail, not wait for its writer.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            os.fsync(fd)
            return matching_chunks(
                fd, offset, index, Phase.VERIFY, sink, threads or default_threads()
            )
        finally:
            os.close(fd)

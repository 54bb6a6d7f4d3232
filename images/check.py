# SPDX-License-Identifier: Apache-2.0
"""Compare what stands at the index's own positions with the index.

The same pass is the first one of an update (what is right already stays), the last one (what was
written is read back), and the whole of `verify`.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

from images import linux
from images.durable import os_errors
from images.events import EventSink, Phase, Progress, ignore
from images.index import Index
from images.parallel import default_threads, each
from images.runs import FileRegion

SPAN_LENGTH = 1 << 20
"""Bytes that one thread reads and digests at a time, unless a single chunk is longer."""


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
    """Digest every chunk where it should stand.

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
    digest = index.digest
    local = threading.local()
    whole = FileRegion(fd, offset, index.blob_length)

    def check(span: tuple[int, int]) -> int:
        first, stop = span
        base, end = index.start(first), index.end(stop - 1)
        buffer: bytearray | None = getattr(local, "buffer", None)
        if buffer is None or len(buffer) < end - base:
            local.buffer = buffer = bytearray(max(end - base, SPAN_LENGTH))
        if whole.is_hole(base, end - base):
            buffer[: end - base] = bytes(end - base)
            view = memoryview(buffer)[: end - base]
        else:
            view = memoryview(buffer)[: read_into(fd, offset + base, buffer, end - base)]
        for number, (chunk_start, chunk_end, chunk_id) in enumerate(
            index.chunks(first, stop), first
        ):
            data = view[chunk_start - base : chunk_end - base]
            length = chunk_end - chunk_start
            if len(data) < length:
                break
            right[number] = digest.of_chunk(data, index.sizes.maximum) == chunk_id
        return end - base

    done, total = 0, index.blob_length
    sink(Progress(phase, done, total))
    for length in each(spans(index), check, threads):
        done += length
        sink(Progress(phase, done, total))
    return right


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
            forget_cache(fd)
            return matching_chunks(
                fd, offset, index, Phase.VERIFY, sink, threads or default_threads()
            )
        finally:
            os.close(fd)


def forget_cache(fd: int) -> None:
    """Write out what is dirty and let the next reads come from the medium."""
    if stat.S_ISBLK(os.fstat(fd).st_mode):
        linux.flush_buffers(fd)
    else:
        os.fsync(fd)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)


def read_into(fd: int, offset: int, buffer: bytearray, length: int) -> int:
    """Fill `buffer[:length]` from `offset`; return how many bytes there were before the end."""
    done = 0
    view = memoryview(buffer)
    while done < length:
        count = os.preadv(fd, [view[done:length]], offset + done)
        if count == 0:
            break
        done += count
    return done

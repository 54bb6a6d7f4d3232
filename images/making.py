# SPDX-License-Identifier: Apache-2.0
"""Turn an image into chunks and their index.

scan threads    read blocks and mark candidate cuts      (runs.py)
whole thread    digests all bytes of a file, in order
chunk threads   digest, compress and store each chunk

The digest of the whole is one chain that no second core can help with. So it waits for nobody:
it reads a file by itself, ahead of the others, and is done with what costs nothing else, as the
hole that many images end with, while they still compress. Pipes give their bytes once, and a device
may change without telling: these are digested by the caller's thread on the way.
"""

from __future__ import annotations

import os
import stat
import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

from images.digests import Buffer, ChunkId, Digest, Hash
from images.durable import os_errors
from images.errors import NotAccessible
from images.events import EventSink, Phase, Progress, ignore
from images.index import Index, IndexBuilder
from images.inputs import Input
from images.parallel import default_threads
from images.runs import FileRegion, Run, runs
from images.sizes import WINDOW, ChunkSizes
from images.stores.writing import Stored

AHEAD = 512 << 20
"""Bytes by which the digest of the whole may be ahead of the chunks, which shall still find in the
page cache what it has read. Holes do not count."""

_BLOCK = 2 << 20
"""Bytes of the whole that are digested at a time: some 2 ms, so that waits for the interpreter lock
are few."""


class ChunkWriter(Protocol):
    """Where new chunks go; see `stores.local.StoreWriter`."""

    def put(self, chunk_id: ChunkId, data: Buffer) -> Stored:
        """Store a chunk unless it is there; several threads may call."""


@dataclass(frozen=True, slots=True)
class Made:
    """What `make` did.

    Attributes:
        index: of the image.
        digest: of the whole image, in the algorithm of the index.
        new_chunks: that the store did not have yet.
        stored_length: bytes that those take in the store.
    """

    index: Index
    digest: bytes
    new_chunks: int
    stored_length: int


def make(
    source: Input,
    *,
    sizes: ChunkSizes | None = None,
    digest: Digest = Digest.SHA512_256,
    writer: ChunkWriter | None = None,
    sink: EventSink = ignore,
    threads: int | None = None,
) -> Made:
    """Cut an input into chunks, and store them if there is a writer.

    Args:
        source: from `open_input`.
        sizes: of the chunks; casync's defaults if None.
        digest: of the chunks and of the whole.
        writer: None to make an index only.
        sink: takes progress events.
        threads: None for as many as there are cores.

    Raises:
        IndexInvalid: the sizes allow no valid index, as a maximum below 48 bytes.
        DeviceFault, NoSpace, NotAccessible: reading or storing failed, or the input was written to.
    """
    sizes = sizes or ChunkSizes.of()
    threads = threads or default_threads()
    builder = IndexBuilder(sizes, digest)
    whole = digest.new()
    new_chunks = stored_length = position = 0

    def digest_and_store(run: Run) -> list[tuple[int, ChunkId, Stored | None]]:
        chunks = [data for _, data in run.chunks()]
        ids = digest.of_chunks(chunks, sizes.maximum, zero=run.zero)
        done: list[tuple[int, ChunkId, Stored | None]] = []
        last_id, stored = None, None
        for end, chunk_id, data in zip(run.ends, ids, chunks, strict=True):
            if writer is not None and chunk_id != last_id:
                stored = writer.put(chunk_id, data)
            elif stored is not None:
                # Zeros, mostly.
                stored = Stored(False, stored.stored_length)
            done.append((end, chunk_id, stored))
            last_id = chunk_id
        return done

    working: deque[tuple[Run, Future[list[tuple[int, ChunkId, Stored | None]]]]] = deque()

    def collect() -> None:
        nonlocal new_chunks, stored_length, position
        run, future = working.popleft()
        for end, chunk_id, stored in future.result():
            builder.append(end, chunk_id)
            if stored is not None and stored.new:
                new_chunks += 1
                stored_length += stored.stored_length
        position += len(run.data)
        run.release()
        sink(Progress(Phase.MAKE, position, source.length))
        if ahead is not None:
            ahead.follow(position)

    ahead = None
    if threads > 1 and isinstance(source.source, FileRegion) and _is_file(source.source):
        ahead = _DigestAhead(source.source, whole)
    pool = ThreadPoolExecutor(threads)
    try:
        with os_errors("the input"):
            sink(Progress(Phase.MAKE, 0, source.length))
            for run in runs(source.source, sizes, threads=threads):
                working.append((run, pool.submit(digest_and_store, run)))
                if ahead is None:
                    whole.update(run.data)
                while working and (len(working) > threads or working[0][1].done()):
                    collect()
            while working:
                collect()
            if ahead is not None:
                ahead.finish()
    finally:
        if ahead is not None:
            ahead.close()
        pool.shutdown(wait=True, cancel_futures=True)
    return Made(builder.finish(), whole.digest(), new_chunks, stored_length)


class _DigestAhead:
    """Digests a region in a thread of its own, `AHEAD` bytes before the chunks at most."""

    def __init__(self, region: FileRegion, whole: Hash) -> None:
        self._region = region
        self._whole = whole
        self._version = _version(region)
        self._chunked = 0
        self._closed = False
        self._moved = threading.Condition()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="whole")
        self._end = self._pool.submit(self._digest)

    def follow(self, position: int) -> None:
        """Hear that the chunks up to `position` are done."""
        with self._moved:
            self._chunked = position
            self._moved.notify()

    def finish(self) -> None:
        """Wait for the end of the digest.

        Raises:
            OSError: the region cannot be read.
            NotAccessible: it was written to, so that the chunks may not be what was digested.
        """
        self._end.result()
        if _version(self._region) != self._version:
            raise NotAccessible("the input was written to while it was read")

    def close(self) -> None:
        """End the thread, whether it is done or not."""
        with self._moved:
            self._closed = True
            self._moved.notify()
        self._pool.shutdown()

    def _digest(self) -> None:
        block, zeros = memoryview(bytearray(WINDOW + _BLOCK)), bytes(_BLOCK)
        for offset in range(0, self._region.length, _BLOCK):
            if self._region.is_hole(offset, _BLOCK):
                data: Buffer = zeros
            else:
                self._wait_until_chunked(offset - AHEAD)
                data = block[WINDOW : WINDOW + self._region.fill(offset, block)]
            if self._closed:
                return
            self._whole.update(data)

    def _wait_until_chunked(self, position: int) -> None:
        with self._moved:
            self._moved.wait_for(lambda: self._closed or self._chunked >= position)


def _is_file(region: FileRegion) -> bool:
    return stat.S_ISREG(os.fstat(region.fd).st_mode)


def _version(region: FileRegion) -> tuple[int, int]:
    status = os.fstat(region.fd)
    return status.st_size, status.st_mtime_ns

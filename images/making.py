# SPDX-License-Identifier: Apache-2.0
"""Turn an image into chunks and their index.

scan threads    read blocks and mark candidate cuts      (runs.py)
this thread     digests the whole stream, in order
chunk threads   digest, compress and store each chunk
"""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

from images.digests import Buffer, ChunkId, Digest
from images.durable import os_errors
from images.events import EventSink, Phase, Progress, ignore
from images.index import Index, IndexBuilder
from images.inputs import Input
from images.parallel import default_threads
from images.runs import Run, runs
from images.sizes import ChunkSizes
from images.stores.writing import Stored


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
        DeviceFault, NoSpace, NotAccessible: reading or storing failed.
    """
    sizes = sizes or ChunkSizes.of()
    threads = threads or default_threads()
    builder = IndexBuilder(sizes, digest)
    whole = digest.new()
    new_chunks = stored_length = position = 0

    def digest_and_store(run: Run) -> list[tuple[int, ChunkId, Stored | None]]:
        chunks = [data for _, data in run.chunks()]
        ids = digest.of_chunks(chunks, sizes.maximum, zero=run.zero)
        return [
            (end, chunk_id, None if writer is None else writer.put(chunk_id, data))
            for end, chunk_id, data in zip(run.ends, ids, chunks, strict=True)
        ]

    working: deque[tuple[Run, Future[list[tuple[int, ChunkId, Stored | None]]]]] = deque()

    def collect() -> None:
        nonlocal new_chunks, stored_length
        run, future = working.popleft()
        for end, chunk_id, stored in future.result():
            builder.append(end, chunk_id)
            if stored is not None and stored.new:
                new_chunks += 1
                stored_length += stored.stored_length
        run.release()

    pool = ThreadPoolExecutor(threads)
    try:
        with os_errors("the input"):
            sink(Progress(Phase.MAKE, 0, source.length))
            for run in runs(source.source, sizes, threads=threads):
                working.append((run, pool.submit(digest_and_store, run)))
                whole.update(run.data)
                position += len(run.data)
                sink(Progress(Phase.MAKE, position, source.length))
                while working and (len(working) > threads or working[0][1].done()):
                    collect()
            while working:
                collect()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    return Made(builder.finish(), whole.digest(), new_chunks, stored_length)

# SPDX-License-Identifier: Apache-2.0
"""Read an image in order, chunk by chunk, from seeds and stores: for pipes and for digests."""

from __future__ import annotations

import os
from collections.abc import Iterator

from images.errors import ChunkMissing
from images.events import EventSink, Phase, Progress
from images.index import Index
from images.seeds import Seeds
from images.sources import Source, SourceMap
from images.stores.chain import Chain
from images.stores.protocol import ChunkRef

WINDOW_LENGTH = 16 << 20
"""Bytes that are asked for at a time; answers come in any order and wait here for their turn."""


def read_blob(
    index: Index, *, seeds: Seeds, stores: Chain, sink: EventSink, threads: int
) -> Iterator[bytes]:
    """Yield the bytes of every chunk in order; each is digested before.

    Raises:
        ChunkMissing, ChunkInvalid, StoreUnavailable: neither a seed nor a store delivered.
    """
    sources = SourceMap(index, bytearray(len(index)))
    seeds.find(sources, threads)
    first, total = 0, index.blob_length
    sink(Progress(Phase.ASSEMBLE, 0, total))
    while first < len(index):
        stop = max(first + 1, index.find(index.start(first) + WINDOW_LENGTH))
        ready: dict[int, bytes] = {}
        wanted: dict[int, ChunkRef] = {}
        for number in range(first, stop):
            leader = sources.leader(number)
            if leader in ready or leader in wanted:
                continue
            data = _without_store(index, seeds, sources, leader)
            if data is not None:
                ready[leader] = data
            else:
                wanted[leader] = ChunkRef(leader, index.id(leader), index.length(leader))
        for answer in stores.fetch(wanted.values(), index.digest):
            if answer.data is None:
                raise answer.error or ChunkMissing(answer.ref.id.hex())
            ready[answer.ref.number] = answer.data
        for number in range(first, stop):
            yield ready[sources.leader(number)]
            sink(Progress(Phase.ASSEMBLE, index.end(number), total))
        first = stop


def _without_store(index: Index, seeds: Seeds, sources: SourceMap, leader: int) -> bytes | None:
    length = index.length(leader)
    if sources.source(leader) is Source.ZERO:
        return bytes(length)
    if sources.source(leader) is Source.SEED:
        file = seeds.files[sources.file(leader)]
        data = os.pread(file.fd, length, sources.place(leader))
        if len(data) == length and index.digest.of(data) == index.id(leader):
            return data
    return None

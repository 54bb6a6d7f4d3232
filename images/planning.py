# SPDX-License-Identifier: Apache-2.0
"""Decide for every chunk where it comes from, before anything is written.

The order is that of cost: already right in the target, zeros, a copy elsewhere in the target, a
seed, the cache, a neighbour, a store. The result is exact: what `assemble` then moves is what was
planned, save for sources that change or fail in between.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from images.check import matching_chunks
from images.durable import os_errors
from images.errors import ChunkMissing
from images.events import EventSink, Phase, Progress
from images.index import Index
from images.moves import Moves, order_moves
from images.parallel import default_threads
from images.seeds import Seeds
from images.sources import Source, SourceMap
from images.stores.chain import Chain
from images.stores.protocol import ChunkRef
from images.survey import NOWHERE, survey
from images.target import Target


@dataclass(frozen=True, slots=True)
class Share:
    """What one source contributes."""

    chunks: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Plan:
    """Where everything comes from.

    Attributes:
        index: of the image.
        sources: chunk by chunk.
        moves: order of those that move within the target.
        shares: by source; those of the whole image together.
        requests: distinct chunks that are asked of a store over the network.
        download_length: compressed bytes of all chunks from stores, None where a store does not
            tell.
    """

    index: Index
    sources: SourceMap
    moves: Moves
    shares: Mapping[Source, Share]
    requests: int
    download_length: int | None

    @property
    def bytes_to_write(self) -> int:
        """Bytes of the chunks that the target does not hold yet.

        Of these, 4 KiB blocks that happen to be right are not written again.
        """
        return sum(s.bytes for source, s in self.shares.items() if source is not Source.TARGET)

    def refs(self, wanted: Source) -> Iterator[ChunkRef]:
        """Yield the distinct chunks that come from a source, as stores are asked for them."""
        for leader in self.sources.leaders():
            if self.sources.source(leader) is wanted:
                yield self.ref(leader)

    def ref(self, leader: int) -> ChunkRef:
        """Return one chunk as stores are asked for it."""
        return ChunkRef(leader, self.index.id(leader), self.index.length(leader))


def make_plan(
    index: Index,
    target: Target,
    *,
    seeds: Seeds,
    stores: Chain,
    sink: EventSink,
    threads: int | None = None,
    seed_target: bool = True,
    ask_stores: bool = False,
) -> Plan:
    """Work out where every chunk comes from.

    Args:
        index: of the image.
        target: what is there counts; it is not written.
        seeds: stay open as long as the plan is to be used.
        stores: local ones and neighbours are asked what they have, remote ones are taken to have
            everything.
        sink: takes progress events.
        threads: None for as many as there are cores.
        seed_target: use content of the target that stands elsewhere than it should.
        ask_stores: ask remote stores as well, which costs a request for each chunk.

    Raises:
        ChunkMissing: only local stores were given, and they lack chunks.
        DeviceFault, NotAccessible: the target cannot be read.
    """
    threads = threads or default_threads()
    if seed_target:
        sources, moves = _look_through(target, index, sink, threads)
    else:
        with os_errors(target.name):
            right = matching_chunks(
                target.fd, target.spec.offset, index, Phase.CHECK_TARGET, sink, threads
            )
        sources, moves = SourceMap(index, right), Moves()
    if sources.wants_any():
        seeds.find(sources, threads)
    download_length = _find_in_stores(index, sources, stores, sink, ask_stores)
    requests = sum(1 for leader in sources.leaders() if sources.source(leader) is Source.STORE)
    return Plan(
        index,
        sources,
        moves,
        _shares(index, sources),
        requests if stores.remote else 0,
        download_length,
    )


def _look_through(
    target: Target, index: Index, sink: EventSink, threads: int
) -> tuple[SourceMap, Moves]:
    """Find what the target holds, and the order in which what is elsewhere can move."""
    with os_errors(target.name):
        found = survey(target.old_content(index), index, sink, threads)
    target.tell_of_lost(sink)
    sources = SourceMap(index, found.right, found.table)
    for leader, place in enumerate(found.places):
        if place != NOWHERE and sources.source(leader) is Source.NONE:
            sources.assign(leader, Source.MOVE, place)
    return sources, order_moves(sources)


def _find_in_stores(
    index: Index, sources: SourceMap, stores: Chain, sink: EventSink, ask_stores: bool
) -> int | None:
    """Assign what is lacking to the cache and the stores; return the bytes to download."""
    download: int | None = 0
    if stores.cache is not None and sources.wants_any():
        for stat in stores.cache.stat(_lacking(index, sources)):
            if stat.present:
                sources.assign(stat.ref.number, Source.CACHE)
    if stores.peers is not None and sources.wants_any():
        for ref in stores.peers.holds(_lacking(index, sources)):
            sources.assign(ref.number, Source.PEER)
    for store in stores.stores:
        if not sources.wants_any():
            break
        if store.remote and not ask_stores:
            for ref in _lacking(index, sources):
                sources.assign(ref.number, Source.STORE)
            return None
        done = 0
        for stat in store.stat(_lacking(index, sources)):
            done += stat.ref.length
            sink(Progress(Phase.ASK_STORES, done, None))
            if stat.present:
                sources.assign(stat.ref.number, Source.STORE)
                if stat.stored_length is None or download is None:
                    download = None
                else:
                    download += stat.stored_length
    missing = sum(1 for _ in _lacking(index, sources))
    if missing:
        first = next(_lacking(index, sources)).id.hex()
        names = stores.name or "none given"
        raise ChunkMissing(
            f"{missing} chunks are in no seed and no store (stores: {names}); the first is {first}"
        )
    return download


def _lacking(index: Index, sources: SourceMap) -> Iterator[ChunkRef]:
    for leader in sources.leaders():
        if sources.source(leader) is Source.NONE:
            yield ChunkRef(leader, index.id(leader), index.length(leader))


def _shares(index: Index, sources: SourceMap) -> dict[Source, Share]:
    """Add up chunks and bytes by source; a chunk fetched once and put twice is one and a copy."""
    chunks = dict.fromkeys(Source, 0)
    lengths = dict.fromkeys(Source, 0)
    for leader in sources.leaders():
        source = sources.source(leader)
        for number in sources.positions(leader):
            kind = Source.TARGET if sources.right[number] else source
            chunks[kind] += 1
            lengths[kind] += index.length(number)
            if kind in (Source.CACHE, Source.PEER, Source.STORE, Source.MOVE):
                source = Source.COPY
    return {kind: Share(chunks[kind], lengths[kind]) for kind in Source if chunks[kind]}

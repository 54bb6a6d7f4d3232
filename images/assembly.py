# SPDX-License-Identifier: Apache-2.0
"""Carry out a plan: bring every chunk to its place, then prove that it is there.

    moves within the target     one after the other, in the planned order
    zeros                       ranges, by hole or device command where there is one
    seeds and copies            contiguous runs, several threads
    cache, peers and stores     as they arrive

Every chunk is digested before it is written; those of the target itself were when it was surveyed,
and nobody else writes to it. What a seed no longer has is fetched. At the end all is flushed and
read back from the medium.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import TypeAlias

from images.check import matching_chunks
from images.copying import Copier, pieces
from images.digests import Digest
from images.durable import os_errors
from images.errors import DeviceFault, ImageError
from images.events import EventSink, Phase, Progress, SourceFailed
from images.parallel import adjacent, batches, default_threads, each
from images.planning import Plan, Share
from images.seeds import Seeds
from images.sources import Source
from images.stores.chain import Chain
from images.stores.protocol import ChunkRef
from images.target import Target

Data: TypeAlias = bytes | memoryview
_Chunk: TypeAlias = tuple[int, Data, Source]
"""A leader, its bytes, and where they came from."""

PLACED_AT_ONCE = 1 << 20
"""Bytes of chunks that are read and written together."""

ZERO_RANGE_LIMIT = 32 << 20
"""Bytes of zeros put at a time, so that progress is seen and an interrupt is quick."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a run did.

    Attributes:
        shares: by source, what was really used.
        bytes_written: bytes that went to the medium: of chunks, those 4 KiB blocks that differed.
        bytes_cloned: bytes shared with a seed by the file system instead.
        transferred: bytes that came from the cache and the stores, compressed, failures included.
        transferred_by_peers: bytes of the chunks that neighbours gave, compressed.
        seconds: wall time of assembling, flushing and verifying.
    """

    shares: Mapping[Source, Share]
    bytes_written: int
    bytes_cloned: int
    transferred: int
    transferred_by_peers: int
    seconds: Mapping[Phase, float]


def assemble(
    plan: Plan,
    target: Target,
    *,
    seeds: Seeds,
    stores: Chain,
    sink: EventSink,
    threads: int | None = None,
    reflink: bool = True,
) -> Report:
    """Make the target hold the image.

    Args:
        plan: made for this target, these seeds and stores.
        target: open for writing.
        seeds: the same that the plan was made with, still open.
        stores: where the rest comes from.
        sink: takes progress events.
        threads: None for as many as there are cores.
        reflink: share blocks with seed files where the file system can.

    Raises:
        ChunkMissing, ChunkInvalid, StoreUnavailable: no store delivered some chunk; all others
            are in place.
        DeviceFault: writing failed, or what was written reads back otherwise.
        NoSpace: the file system is full.
    """
    threads = threads or default_threads()
    work = _Assembly(plan, target, seeds, stores, sink, threads, reflink)
    seconds = {}
    started = time.monotonic()
    target.write_lost(plan.index.blob_length)
    work.run()
    seconds[Phase.ASSEMBLE] = time.monotonic() - started
    started = time.monotonic()
    sink(Progress(Phase.FLUSH, 0, None))
    target.settle(plan.index.blob_length)
    seconds[Phase.FLUSH] = time.monotonic() - started
    started = time.monotonic()
    _read_back(plan, target, sink, threads)
    seconds[Phase.VERIFY] = time.monotonic() - started
    return Report(
        work.shares(),
        target.written,
        target.cloned,
        work.transferred,
        work.transferred_by_peers,
        seconds,
    )


def _read_back(plan: Plan, target: Target, sink: EventSink, threads: int) -> None:
    with os_errors(target.name):
        right = matching_chunks(
            target.fd, target.spec.offset, plan.index, Phase.VERIFY, sink, threads
        )
    wrong = right.count(0)
    if wrong:
        at = plan.index.start(right.index(0))
        raise DeviceFault(
            f"{target.name}: {wrong} chunks read back otherwise than they were written, "
            f"the first at {at}"
        )


class _Assembly:
    def __init__(
        self,
        plan: Plan,
        target: Target,
        seeds: Seeds,
        stores: Chain,
        sink: EventSink,
        threads: int,
        reflink: bool,
    ) -> None:
        self._plan = plan
        self._index = plan.index
        self._sources = plan.sources
        self._target = target
        self._seeds = seeds
        self._stores = stores
        self._sink = sink
        self._threads = threads
        self._reflink = reflink
        self._digest: Digest = plan.index.digest
        self._refetch = array("I")  # leaders whose seed or copy was not what it should be
        self._placed = 0
        self._to_place = plan.bytes_to_write
        self._chunks = dict.fromkeys(Source, 0)
        self._bytes = dict.fromkeys(Source, 0)
        self.transferred = self.transferred_by_peers = 0

    def run(self) -> None:
        self._sink(Progress(Phase.ASSEMBLE, 0, self._to_place))
        self._place(self._moved())
        self._put_zeros()
        self._copy()
        self._fetch()

    def shares(self) -> dict[Source, Share]:
        """Return what was used, by source."""
        kept = {Source.TARGET: self._plan.shares.get(Source.TARGET, Share(0, 0))}
        used = {s: Share(self._chunks[s], self._bytes[s]) for s in Source if self._chunks[s]}
        return kept | used

    def _account(self, source: Source, chunks: int, length: int) -> None:
        self._chunks[source] += chunks
        self._bytes[source] += length
        self._placed += length
        self._sink(Progress(Phase.ASSEMBLE, self._placed, self._to_place))

    def _place(self, groups: Iterable[list[_Chunk]]) -> None:
        """Write chunks wherever they are lacking; all places of a chunk but the first are copies.

        One thread writes: a file takes one writer at a time, and more would only contend with
        those that read, decompress and digest.
        """
        for group in groups:
            places: list[tuple[int, Data, Source]] = []
            for leader, data, source in group:
                for number in self._sources.wrong_positions(leader):
                    places.append((number, data, source))
                    source = Source.COPY
            for start, view in self._side_by_side(places):
                self._target.put(start, view)
            for _, data, source in places:
                self._account(source, 1, len(data))

    def _side_by_side(
        self, places: list[tuple[int, Data, Source]]
    ) -> Iterator[tuple[int, memoryview]]:
        """Yield offset and bytes of chunks, those that follow each other in the image as one."""
        places.sort(key=itemgetter(0))
        for run in adjacent(places, lambda place: (place[0], place[0] + 1)):
            first, data, _ = run[0]
            if len(run) > 1:
                data = b"".join(data for _, data, _ in run)
            yield self._index.start(first), memoryview(data)

    def _moved(self) -> Iterator[list[_Chunk]]:
        """Take the planned steps. Reading ahead is safe: sources are old content, and only lost."""
        stash: dict[int, Data] = {}
        steps = batches(
            map(_Step.of, self._plan.moves),
            lambda step: self._index.length(step.leader),
            PLACED_AT_ONCE,
        )
        for batch in each(steps, self._read_moves, self._threads):
            group: list[_Chunk] = []
            for step, data in batch:
                if not step.to_stash:
                    data = stash.pop(step.leader, data)
                if data is None:
                    self._refetch.append(step.leader)
                elif step.to_stash:
                    stash[step.leader] = bytes(data)
                else:
                    group.append((step.leader, data, Source.MOVE))
            yield group

    def _read_moves(self, steps: list[_Step]) -> list[tuple[_Step, Data | None]]:
        """Read the chunks of some steps, those that stand side by side at once."""
        # The survey digested these chunks, and the target has been ours alone ever since.
        spans = [
            (self._sources.place(leader), self._index.length(leader), leader)
            for leader in {step.leader for step in steps}
        ]
        read: dict[int, Data | None] = {}
        for run in adjacent(sorted(spans), lambda span: (span[0], span[0] + span[1])):
            start, length = run[0][0], sum(length for _, length, _ in run)
            data = memoryview(bytearray(length))
            count = self._target.read(start, data, length)
            for place, length, leader in run:
                whole = place + length - start <= count
                read[leader] = data[place - start :][:length] if whole else None
        return [(step, read[step.leader]) for step in steps]

    def _put_zeros(self) -> None:
        for first, stop in self._runs_of_zeros():
            start, end = self._index.start(first), self._index.end(stop - 1)
            self._target.put_zeros(start, end - start)
            self._account(Source.ZERO, stop - first, end - start)

    def _runs_of_zeros(self) -> Iterator[tuple[int, int]]:
        first: int | None = None
        for number in range(len(self._index)):
            zero = self._is_wrong(number, Source.ZERO)
            if first is not None and (
                not zero or self._index.end(number) - self._index.start(first) > ZERO_RANGE_LIMIT
            ):
                yield first, number
                first = None
            if zero and first is None:
                first = number
        if first is not None:
            yield first, len(self._index)

    def _is_wrong(self, number: int, source: Source) -> bool:
        if self._sources.right[number]:
            return False
        return self._sources.source(self._sources.leader(number)) is source

    def _copy(self) -> None:
        """Bring what seeds and the target itself have, in contiguous runs."""
        copier = Copier(self._plan, self._target, self._seeds, self._reflink)
        for piece, bad in each(pieces(self._plan), copier.copy, self._threads):
            good = [n for n in range(piece.first, piece.stop) if n not in bad]
            self._account(piece.source, len(good), sum(map(self._index.length, good)))
            if bad:
                self._refetch.extend({self._sources.leader(number) for number in bad})
                self._sink(
                    SourceFailed(
                        copier.name(piece),
                        self._index.id(bad[0]).hex(),
                        "image.seed-changed",
                        f"{len(bad)} chunks are no longer what they were; they are fetched instead",
                    )
                )

    def _fetch(self) -> None:
        errors: list[ImageError] = []
        # What came over a network is put in place before the next is waited for.
        at_once = 1 if self._stores.remote else PLACED_AT_ONCE
        self._place(batches(self._fetched(errors), lambda chunk: len(chunk[1]), at_once))
        if len(errors) == 1:
            raise errors[0]
        if errors:
            first = errors[0]
            more = len(errors) - 1
            raise type(first)(f"{first} (and {more} more chunks)", hint=first.hint)

    def _fetched(self, errors: list[ImageError]) -> Iterator[_Chunk]:
        for answer in self._stores.fetch(self._wanted(), self._digest):
            if answer.kind is Source.PEER:
                self.transferred_by_peers += answer.transferred
            else:
                self.transferred += answer.transferred
            if answer.error is not None:
                errors.append(answer.error)
            if answer.data is not None:
                yield answer.ref.number, answer.data, answer.kind

    def _wanted(self) -> Iterator[ChunkRef]:
        for source in (Source.CACHE, Source.PEER, Source.STORE):
            yield from self._plan.refs(source)
        for leader in self._refetch:
            yield self._plan.ref(leader)


@dataclass(frozen=True, slots=True)
class _Step:
    """A step of `Moves`: read a chunk into the stash, or write it where it belongs."""

    leader: int
    to_stash: bool

    @classmethod
    def of(cls, number: int) -> _Step:
        return cls(~number, True) if number < 0 else cls(number, False)

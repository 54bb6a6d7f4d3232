# SPDX-License-Identifier: Apache-2.0
"""Carry out a plan: bring every chunk to its place, then prove that it is there.

    moves within the target     one after the other, in the planned order
    zeros                       ranges, by hole or device command where there is one
    seeds and copies            contiguous runs, several threads
    cache and stores            as they arrive

Every chunk is digested before it is written; those of the target itself were when it was surveyed,
and nobody else writes to it. What a seed no longer has is fetched. At the end all is flushed and
read back from the medium.
"""

from __future__ import annotations

import threading
import time
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from images.check import SPAN_LENGTH, matching_chunks, read_into
from images.digests import ChunkId, Digest
from images.durable import os_errors
from images.errors import DeviceFault, ImageError
from images.events import EventSink, Phase, Progress, SourceFailed
from images.parallel import default_threads, each
from images.planning import Plan, Share
from images.seeds import Seeds
from images.sources import Source
from images.stores.chain import Chain
from images.stores.protocol import ChunkRef
from images.target import BLOCK, Target

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
        seconds: wall time of assembling, flushing and verifying.
    """

    shares: Mapping[Source, Share]
    bytes_written: int
    bytes_cloned: int
    transferred: int
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
    work.run()
    seconds[Phase.ASSEMBLE] = time.monotonic() - started
    started = time.monotonic()
    sink(Progress(Phase.FLUSH, 0, None))
    target.settle(plan.index.blob_length)
    seconds[Phase.FLUSH] = time.monotonic() - started
    started = time.monotonic()
    _read_back(plan, target, sink, threads)
    seconds[Phase.VERIFY] = time.monotonic() - started
    return Report(work.shares(), target.written, target.cloned, work.transferred, seconds)


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
        self._chunks = dict.fromkeys(Source, 0)
        self._bytes = dict.fromkeys(Source, 0)
        self.transferred = 0

    def run(self) -> None:
        self._sink(Progress(Phase.ASSEMBLE, 0, self._plan.bytes_to_write))
        self._move()
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
        self._sink(Progress(Phase.ASSEMBLE, self._placed, self._plan.bytes_to_write))

    def _place(self, leader: int, data: memoryview, source: Source) -> None:
        """Write a chunk wherever it is lacking."""
        for number in self._sources.wrong_positions(leader):
            self._target.put(self._index.start(number), data)
            self._account(source, 1, len(data))
            source = Source.COPY

    def _move(self) -> None:
        """Take the planned steps. Reading ahead is safe: sources are old content, and only lost."""
        stash: dict[int, bytearray] = {}
        for batch in each(self._move_batches(), self._read_moves, self._threads):
            for step, data in batch:
                leader = step if step >= 0 else ~step
                if step >= 0:
                    data = stash.pop(leader, data)
                if data is None:
                    self._refetch.append(leader)
                elif step < 0:
                    stash[leader] = data
                else:
                    self._place(leader, memoryview(data), Source.MOVE)

    def _move_batches(self) -> Iterator[list[int]]:
        batch, length = [], 0
        for step in self._plan.moves:
            batch.append(step)
            length += self._index.length(step if step >= 0 else ~step)
            if length >= SPAN_LENGTH:
                yield batch
                batch, length = [], 0
        yield batch

    def _read_moves(self, steps: list[int]) -> list[tuple[int, bytearray | None]]:
        return [(step, self._read_move(step if step >= 0 else ~step)) for step in steps]

    def _read_move(self, leader: int) -> bytearray | None:
        # The survey digested this chunk, and the target has been ours alone ever since.
        length = self._index.length(leader)
        buffer = bytearray(length)
        count = self._target.read(self._sources.place(leader), buffer, length)
        return buffer if count == length else None

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
        copier = _Copier(self._plan, self._target, self._seeds, self._reflink)
        for piece, bad in each(self._pieces(), copier.copy, self._threads):
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

    def _pieces(self) -> Iterator[_Piece]:
        """Yield runs of positions whose chunks stand one after the other in one source."""
        piece: _Piece | None = None
        for number in range(len(self._index)):
            source = Source.NONE
            if not self._sources.right[number]:
                leader = self._sources.leader(number)
                source = self._sources.source(leader)
            if source not in (Source.SEED, Source.COPY):
                if piece is not None:
                    yield piece
                piece = None
                continue
            place, file = self._sources.place(leader), self._sources.file(leader)
            start, end = self._index.start(number), self._index.end(number)
            if piece is not None:
                base = self._index.start(piece.first)
                if (
                    (piece.source, piece.file) == (source, file)
                    and piece.place + start - base == place
                    and end - base <= SPAN_LENGTH
                ):
                    piece = _Piece(source, file, piece.place, piece.first, number + 1)
                    continue
                yield piece
            piece = _Piece(source, file, place, number, number + 1)
        if piece is not None:
            yield piece

    def _fetch(self) -> None:
        failed = 0
        error: ImageError | None = None
        for answer in self._stores.fetch(self._wanted(), self._digest):
            self.transferred += answer.transferred
            if answer.data is not None:
                source = self._sources.source(answer.ref.number)
                self._place(
                    answer.ref.number,
                    memoryview(answer.data),
                    Source.CACHE if source is Source.CACHE else Source.STORE,
                )
            else:
                failed += 1
                error = error or answer.error
        if error is not None:
            if failed == 1:
                raise error
            raise type(error)(f"{error} (and {failed - 1} more chunks)", hint=error.hint)

    def _wanted(self) -> Iterator[ChunkRef]:
        yield from self._plan.refs(Source.CACHE)
        yield from self._plan.refs(Source.STORE)
        for leader in self._refetch:
            yield self._plan.ref(leader)


@dataclass(frozen=True, slots=True)
class _Piece:
    source: Source
    file: int
    place: int
    first: int
    stop: int


class _Copier:
    """Reads, digests and writes pieces; several threads at once."""

    def __init__(self, plan: Plan, target: Target, seeds: Seeds, reflink: bool) -> None:
        self._index = plan.index
        self._target = target
        self._seeds = seeds
        self._reflink = reflink
        self._local = threading.local()

    def name(self, piece: _Piece) -> str:
        """Return what users know the piece's source as."""
        if piece.source is Source.COPY:
            return self._target.name
        return self._seeds.files[piece.file].name

    def copy(self, piece: _Piece) -> tuple[_Piece, list[int]]:
        """Copy a piece; return it with the positions whose bytes were not what they should be."""
        fd, place = self._target.fd, piece.place + self._target.spec.offset
        if piece.source is Source.SEED:
            fd, place = self._seeds.files[piece.file].fd, piece.place
        base, end = self._index.start(piece.first), self._index.end(piece.stop - 1)
        view = self._read(fd, place, end - base)
        bad = []
        good_from = base
        for number, (start, stop, chunk_id) in enumerate(
            self._index.chunks(piece.first, piece.stop), piece.first
        ):
            if self._matches(view[start - base : stop - base], stop - start, chunk_id):
                continue
            bad.append(number)
            self._write(view, base, good_from, start, fd, place)
            good_from = stop
        self._write(view, base, good_from, end, fd, place)
        return piece, bad

    def _read(self, fd: int, place: int, length: int) -> memoryview:
        buffer: bytearray | None = getattr(self._local, "buffer", None)
        if buffer is None or len(buffer) < length:
            self._local.buffer = buffer = bytearray(max(length, SPAN_LENGTH))
        try:
            count = read_into(fd, place, buffer, length)
        except OSError:
            count = 0  # a seed that fails to be read is a seed that has not got the chunk
        return memoryview(buffer)[:count]

    def _matches(self, data: memoryview, length: int, chunk_id: ChunkId) -> bool:
        return len(data) == length and self._index.digest.of(data) == chunk_id

    def _write(
        self, view: memoryview, base: int, start: int, end: int, fd: int, place: int
    ) -> None:
        """Put the bytes `start` to `end` of the image, sharing whole blocks where possible."""
        first = -(-start // BLOCK) * BLOCK
        stop = end // BLOCK * BLOCK
        if (
            self._reflink
            and first < stop
            and self._target.clone(first, fd, place + first - base, stop - first)
        ):
            self._target.put(start, view[start - base : first - base])
            self._target.put(stop, view[stop - base : end - base])
        elif start < end:
            self._target.put(start, view[start - base : end - base])

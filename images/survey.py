# SPDX-License-Identifier: Apache-2.0
"""Find out what the target already holds: right where it stands, or elsewhere.

Digesting is what costs, so each byte is digested once at most:

1. The target is cut into chunks as the image was. A chunk is digested if the image has one of its
   length, which sorts most others out. What stands at its own position is right; what stands
   elsewhere can move.
2. Around an edit the cuts differ, and content may be right although it was cut otherwise. So the
   index's own positions are asked for the rest: a chunk can be right only if the scan marked its
   last byte and none between, or none at all where it was cut by force. Few others pass, and are
   digested.
"""

from __future__ import annotations

import os
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

from images.check import spans
from images.cuts import may_be_chunk
from images.digests import ChunkId
from images.events import EventSink, Phase, Progress
from images.ids import IdTable, LengthFilter
from images.index import Index
from images.parallel import Scratch, each
from images.reading import LostBlocks, read_into
from images.runs import FileRegion, Run, runs
from images.sizes import WINDOW

NOWHERE = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class Survey:
    """What a target holds.

    Attributes:
        table: of the index's ids.
        right: one byte a position, 1 where the target holds the chunk.
        places: by leader, the image offset at which the target holds the chunk, or `NOWHERE`;
            not filled in for chunks that were found right first.
    """

    table: IdTable
    right: bytearray
    places: array[int]


def survey(region: FileRegion, index: Index, sink: EventSink, threads: int) -> Survey:
    """Look through a target.

    Args:
        region: old content, from where the image begins; what it has lost is not right.
        index: what should be there.
        sink: takes progress events.
        threads: how many to use.

    Raises:
        OSError: the target cannot be read.
    """
    found = Survey(IdTable(index), bytearray(len(index)), array("Q", [NOWHERE]) * len(index))
    possible = _Possible(index)
    _cut(region, index, found, possible, sink, threads)
    if not index.sizes.fixed:  # there, the cuts are the index's own positions
        _ask_positions(region, index, found, possible, threads)
    if region.lost:
        _leave_lost(region.start, region.lost, index, found)
    return found


class _Possible:
    """Which of the index's positions may be right, going by the marks of the scan.

    Attributes:
        flags: one byte a position.
    """

    def __init__(self, index: Index) -> None:
        self._index = index
        self.flags = bytearray(len(index))

    def mark(self, offset: int, length: int, bits: memoryview) -> None:
        """Take the marks of a block (see `runs.Marks`)."""
        index = self._index
        for number in range(index.find(offset), len(index)):
            start, end = index.start(number) - offset, index.end(number) - offset
            if end > length:
                break
            if may_be_chunk(bits, start, end, index.sizes, last=number == len(index) - 1):
                self.flags[number] = 1

    def clear(self, run: Run) -> None:
        """Take the cuts of a run: a position that was cut as in the index is digested with it."""
        index, start = self._index, run.offset
        number = index.find(start)
        for end in run.ends:
            while number < len(index) and index.start(number) < start:
                number += 1
            if number < len(index) and (index.start(number), index.end(number)) == (start, end):
                self.flags[number] = 0
            start = end


def _cut(
    region: FileRegion,
    index: Index,
    found: Survey,
    possible: _Possible,
    sink: EventSink,
    threads: int,
) -> None:
    digest, table = index.digest, found.table
    lengths = LengthFilter()
    for start, end, _ in index.chunks():
        lengths.add(end - start)

    def known(run: Run) -> tuple[int, list[tuple[int, int, int]]]:
        with run:
            possible.clear(run)
            chunks = [(start, data) for start, data in run.chunks() if len(data) in lengths]
            ids = digest.of_chunks([data for _, data in chunks], index.sizes.maximum, zero=run.zero)
            found = [
                (start, start + len(data), leader)
                for (start, data), chunk_id in zip(chunks, ids, strict=True)
                if (leader := table.find(chunk_id)) >= 0
            ]
            return run.ends[-1], found

    done = 0
    zero_id = digest.of_zeros(index.sizes.maximum)
    zeros, zero_leader = array("Q"), table.find(zero_id)
    sink(Progress(Phase.CHECK_TARGET, 0, region.length))
    cut = runs(region, index.sizes, threads=threads, marks=possible.mark)
    for end, chunks in each(cut, known, threads):
        for start, stop, leader in chunks:
            if leader == zero_leader:
                _extend(zeros, start, stop)
            number = index.find(start)
            if (
                number < len(index)
                and (index.start(number), index.end(number)) == (start, stop)
                and (number == leader or table.find(index.id(number)) == leader)
            ):
                found.right[number] = 1
            elif found.places[leader] == NOWHERE:
                found.places[leader] = start
        done = max(done, end)
        sink(Progress(Phase.CHECK_TARGET, done, region.length))
    if zeros:
        _settle_zeros(index, found, zero_id, zeros)


def _extend(ranges: array[int], start: int, stop: int) -> None:
    """Add a range to ascending ones, `start, stop, start, stop` and so on."""
    if ranges and ranges[-1] == start:
        ranges[-1] = stop
    else:
        ranges.extend((start, stop))


def _settle_zeros(index: Index, found: Survey, zero_id: ChunkId, zeros: array[int]) -> None:
    """Find chunks of zeros right that lie within zeros, wherever the target's own were cut."""
    for number, (start, end, chunk_id) in enumerate(index.chunks()):
        if chunk_id == zero_id and not found.right[number]:
            border = bisect_right(zeros, start)
            if border % 2 and end <= zeros[border]:
                found.right[number] = 1


def _leave_lost(offset: int, lost: LostBlocks, index: Index, found: Survey) -> None:
    """Make nothing of what touches a lost block, which is going to be written whole.

    It may have been read before or after: a read that fails does not always tell at which block.
    """
    for number, (start, end, _) in enumerate(index.chunks()):
        if lost.within(offset + start, offset + end):
            found.right[number] = 0
        place = found.places[number]
        if place != NOWHERE and lost.within(offset + place, offset + place + end - start):
            found.places[number] = NOWHERE


def _ask_positions(
    region: FileRegion, index: Index, found: Survey, possible: _Possible, threads: int
) -> None:
    fd, offset, lost = region.fd, region.start, region.lost
    maximum, zeros = index.sizes.maximum, index.digest.of_zeros(index.sizes.maximum)
    scratch = Scratch(maximum)

    def unlike_zeros(end: int, chunk_id: ChunkId) -> bool:
        """Tell whether the bytes before `end` rule out a chunk of zeros, which needs no digest."""
        return chunk_id == zeros and any(os.pread(fd, WINDOW, offset + end - WINDOW))

    def ask(span: tuple[int, int]) -> None:
        for number, (start, end, chunk_id) in enumerate(index.chunks(*span), span[0]):
            if found.right[number] or not possible.flags[number]:
                continue
            if lost and lost.within(offset + start, offset + end):
                continue
            length = end - start
            if length == maximum and unlike_zeros(end, chunk_id):
                continue
            data = scratch.take(length)
            if read_into(fd, offset + start, data, length) < length:
                continue
            found.right[number] = index.digest.of_chunks([data], maximum) == [chunk_id]

    def unsettled() -> Iterator[tuple[int, int]]:
        return (span for span in spans(index) if 0 in found.right[span[0] : span[1]])

    for _ in each(unsettled(), ask, threads):
        pass

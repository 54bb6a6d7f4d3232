# SPDX-License-Identifier: Apache-2.0
"""Where each chunk of an image comes from: packed arrays, no object per chunk.

Equal chunks have one *leader*, the first with that id; what is known of a source is kept with the
leader and serves all its positions.
"""

from __future__ import annotations

import enum
from array import array
from collections.abc import Iterator

from images.digests import ChunkId
from images.ids import IdTable, LengthFilter
from images.index import Index

_NONE = 0xFFFFFFFF


class Source(enum.IntEnum):
    """From cheap to dear. `TARGET` is already right; `COPY` stands right elsewhere in the target;
    `MOVE` stands in a part of the target that will be overwritten; `PEER` is a neighbour's.
    """

    NONE = 0
    TARGET = 1
    ZERO = 2
    COPY = 3
    MOVE = 4
    SEED = 5
    CACHE = 6
    PEER = 7
    STORE = 8


_SOURCES = tuple(Source)  # by value; Source(value) takes ten times as long


class SourceMap:
    """The state of a plan, chunk by chunk.

    Attributes:
        right: one byte a position, 1 where the target already holds the chunk.
    """

    def __init__(self, index: Index, right: bytearray, table: IdTable | None = None) -> None:
        self.index = index
        self.right = right
        self._table = table or IdTable(index)
        self._leader = array("I", map(self._table.find, (id for _, _, id in index.chunks())))
        self._source = bytearray(len(index))
        self._place = array("Q", bytes(8)) * len(index)
        self._file = array("I", bytes(4)) * len(index)
        self._next_same = array("I", [_NONE]) * len(index)
        self._lengths = LengthFilter()
        self._wanted = 0
        if self._table.distinct < len(index):
            self._link_equal_chunks()
        zeros = _zero_ids(index)
        for leader in self.leaders():
            self._settle_without_reading(leader, zeros)

    def leaders(self) -> Iterator[int]:
        """Yield the first position of every distinct id."""
        return (number for number, leader in enumerate(self._leader) if number == leader)

    def leader(self, number: int) -> int:
        """Return the first position with the id of position `number`."""
        return self._leader[number]

    def positions(self, leader: int) -> Iterator[int]:
        """Yield every position with the leader's id."""
        number = leader
        while number != _NONE:
            yield number
            number = self._next_same[number]

    def wrong_positions(self, leader: int) -> Iterator[int]:
        """Yield the positions with the leader's id that the target does not hold yet."""
        return (number for number in self.positions(leader) if not self.right[number])

    def source(self, leader: int) -> Source:
        """Return where a leader comes from."""
        return _SOURCES[self._source[leader]]

    def place(self, leader: int) -> int:
        """Return the byte offset in the source's file or in the target."""
        return self._place[leader]

    def file(self, leader: int) -> int:
        """Return the number of the seed file."""
        return self._file[leader]

    def wants_any(self) -> bool:
        """Tell whether some chunk still has no source."""
        return self._wanted > 0

    def may_want(self, length: int) -> bool:
        """Tell whether a chunk of this length may be lacking a source; rules most out undigested.

        A chunk of another length than all that are lacking cannot be one of them, and lengths
        spread over a quarter of a million values: an update that lacks 1,000 chunks lets one in
        250 of the others pass here.
        """
        return length in self._lengths

    def find_wanted(self, chunk_id: ChunkId) -> int:
        """Return the leader with this id if it lacks a source, else -1."""
        leader = self._table.find(chunk_id)
        return leader if leader >= 0 and self._source[leader] == Source.NONE else -1

    def assign(self, leader: int, source: Source, place: int = 0, file: int = 0) -> None:
        """Say where a leader comes from, or with `Source.NONE` that it is lacking one again."""
        wanted, was_wanted = source is Source.NONE, self._source[leader] == Source.NONE
        if wanted and not was_wanted:
            self._wanted += 1
            self._lengths.add(self.index.length(leader))
        elif was_wanted and not wanted:
            self._wanted -= 1
            self._lengths.remove(self.index.length(leader))
        self._source[leader] = source
        self._place[leader] = place
        self._file[leader] = file

    def _link_equal_chunks(self) -> None:
        for number, leader in enumerate(self._leader):
            if leader != number:
                self._next_same[number] = self._next_same[leader]
                self._next_same[leader] = number

    def _settle_without_reading(self, leader: int, zeros: dict[int, ChunkId]) -> None:
        self._source[leader] = Source.TARGET
        standing = wrong = False
        for number in self.positions(leader):
            if self.right[number]:
                place, standing = self.index.start(number), True
            else:
                wrong = True
        if not wrong:
            return
        if zeros.get(self.index.length(leader)) == self.index.id(leader):
            self.assign(leader, Source.ZERO)
        elif standing:
            self.assign(leader, Source.COPY, place)
        else:
            self.assign(leader, Source.NONE)


def _zero_ids(index: Index) -> dict[int, ChunkId]:
    """Return the ids that zeros have, by length.

    Zeros never cut at the sizes in use, so runs of them are chunks of maximum length, and perhaps
    the last chunk.
    """
    if not len(index):
        return {}
    lengths = {index.sizes.maximum, index.length(len(index) - 1)}
    return {length: index.digest.of_zeros(length) for length in lengths}

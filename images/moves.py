# SPDX-License-Identifier: Apache-2.0
"""The order in which content of the target can move without destroying itself.

A chunk that stands at S and belongs at D must be read before anything else is written over S. So
each move waits for the moves that read what it will overwrite; where moves wait for each other in
a circle, one of them is read into a bounded *stash* first, or given up and taken from elsewhere.
All moves come before all other writes, which therefore need no such care.

Example: an image that grew by 4 KiB at the front moves every chunk forward. The last move waits
for nobody, its end makes the one before it free, and so on down to the first: no stash, no fetch.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator

from images.sources import Source, SourceMap

STASH_LIMIT = 8 << 20
"""Bytes of chunks that may wait in memory."""


class Moves:
    """Steps to take one after the other.

    Attributes:
        steps: leaders; `n` means write leader `n` to its wrong positions, from the stash if it is
            there, `~n` (negative) means read leader `n` into the stash.
    """

    def __init__(self) -> None:
        self.steps = array("q")

    def __iter__(self) -> Iterator[int]:
        return iter(self.steps)


def order_moves(sources: SourceMap, stash_limit: int = STASH_LIMIT) -> Moves:
    """Put all chunks with `Source.MOVE` in order; those given up have no source afterwards."""
    return _Ordering(sources, stash_limit).run()


class _Ordering:
    PENDING, STASHED, DONE = range(3)

    def __init__(self, sources: SourceMap, stash_limit: int) -> None:
        self._sources = sources
        self._index = sources.index
        self._room = stash_limit
        self._state = bytearray(len(self._index))
        self._blocked = array("I", bytes(4)) * len(self._index)
        self._ready = array("I")
        self._moves = Moves()

    def run(self) -> Moves:
        leaders = array(
            "I", (n for n in self._sources.leaders() if self._sources.source(n) is Source.MOVE)
        )
        for leader in leaders:
            for other in self._overwritten_by_others(leader):
                self._blocked[other] += 1
        self._ready.extend(n for n in leaders if not self._blocked[n])
        for leader in leaders:
            self._take_ready()
            if self._state[leader] == self.PENDING:
                self._break_circle(leader)
        self._take_ready()
        return self._moves

    def _take_ready(self) -> None:
        while self._ready:
            leader = self._ready.pop()
            self._moves.steps.append(leader)
            if self._state[leader] == self.STASHED:
                self._room += self._index.length(leader)
                self._state[leader] = self.DONE
            else:
                self._state[leader] = self.DONE
                self._has_been_read(leader)

    def _break_circle(self, leader: int) -> None:
        length = self._index.length(leader)
        if length <= self._room:
            self._room -= length
            self._state[leader] = self.STASHED
            self._moves.steps.append(~leader)
            self._has_been_read(leader)
        else:
            self._state[leader] = self.DONE
            self._has_been_read(leader)
            self._sources.assign(leader, Source.NONE)

    def _has_been_read(self, leader: int) -> None:
        for other in self._overwritten_by_others(leader):
            self._blocked[other] -= 1
            if not self._blocked[other] and self._state[other] != self.DONE:
                self._ready.append(other)

    def _overwritten_by_others(self, leader: int) -> Iterator[int]:
        """Yield the other moves that write over what `leader` reads, once for each position."""
        start = self._sources.place(leader)
        end = start + self._index.length(leader)
        number = self._index.find(start)
        while number < len(self._index) and self._index.start(number) < end:
            if not self._sources.right[number]:
                other = self._sources.leader(number)
                if other != leader and self._sources.source(other) is Source.MOVE:
                    yield other
            number += 1

# SPDX-License-Identifier: Apache-2.0
"""From a log, every state that the medium may hold when the power is cut.

    prefix    all that was done so far is there
    subset    of what was not flushed any part is there, in any order
    torn      a write is there in part, by blocks of 512 or of 4096 bytes
    lied      a flush that did nothing: no medium may do that, so it is counted apart

A state is a moment, and what of the pending changes came through: each is tried once. The last
change before the cut takes part, whole or torn, but for the state that lost all it may.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from tests.crash.media import (
    Change,
    Entry,
    Flush,
    FlushNames,
    Medium,
    Names,
    Resize,
    Saved,
    Write,
    Zero,
)

FEW = 6
"""So many earlier changes that are not flushed are tried in all their subsets."""

TEARS = (512, 4096)
"""Sectors of disks and pages of flash: what is written whole."""

TIRED = 2000
"""States in a row that were tried before: then there is next to nothing new."""


@dataclass(frozen=True, slots=True)
class Point:
    """A moment of the update.

    Attributes:
        number: of the last operation before the cut, from 0.
        step: of the agent.
        medium: after it.
        saved: generation of the state that is promised to be there; 0 for none yet.
    """

    number: int
    step: str
    medium: Medium
    saved: int


@dataclass(frozen=True, slots=True)
class Crash:
    """A cut, and what of the pending changes reached the medium, in this order.

    Attributes:
        way: how it came to be: see above.
    """

    point: Point
    way: str
    chosen: tuple[Change, ...]

    def files(self) -> dict[str, bytes]:
        """Return what the medium holds."""
        return self.point.medium.files(self.chosen)


def points(medium: Medium, log: Sequence[Entry]) -> Iterator[Point]:
    """Yield the moments after each operation."""
    saved = 0
    for number, entry in enumerate(log):
        medium = medium.after(entry.operation)
        if isinstance(entry.operation, Saved):
            saved = entry.operation.generation
        yield Point(number, entry.step, medium, saved)


def crashes(found: Sequence[Point], seed: int, count: int) -> Iterator[Crash]:
    """Yield `count` different states: prefixes, then small subsets and drawn ones in turn.

    Args:
        found: the moments of one update.
        seed: the same seed gives the same states.
        count: at most; fewer where there are no more.
    """
    seen: set[int] = set()  # hashes: the changes themselves would take a gigabyte
    chance = random.Random(seed)
    drawn = _draws(found, chance)
    tired = 0
    for crash in itertools.chain(_prefixes(found), _between(_small_subsets(found), drawn), drawn):
        if len(seen) == count or tired == TIRED:
            return
        key = hash((crash.point.number, _settled_order(crash.chosen)))
        tired = tired + 1 if key in seen else 0
        if not tired:
            seen.add(key)
            yield crash


def _prefixes(found: Sequence[Point]) -> Iterator[Crash]:
    """Yield, for each moment, the state that lost nothing, and the one that lost all it may."""
    for point in found:
        yield Crash(point, "prefix", point.medium.pending)
        yield Crash(point, "subset", ())


def _small_subsets(found: Sequence[Point]) -> Iterator[Crash]:
    for point in found:
        pending = point.medium.pending
        if 1 < len(pending) <= FEW + 1:
            for count in range(len(pending) - 1):
                for kept in itertools.combinations(pending[:-1], count):
                    yield Crash(point, "subset", (*kept, pending[-1]))


def _between(some: Iterator[Crash], others: Iterator[Crash]) -> Iterator[Crash]:
    """Yield one of each until `some` is through."""
    for crash in some:
        yield crash
        yield from itertools.islice(others, 1)


def _draws(found: Sequence[Point], chance: random.Random) -> Iterator[Crash]:
    steps: dict[str, list[Point]] = {}
    for point in found:
        if point.medium.pending:
            steps.setdefault(point.step, []).append(point)
    while steps:
        for moments in steps.values():
            yield _drawn(chance.choice(moments), chance)


def _settled_order(chosen: Sequence[Change]) -> tuple[Change, ...]:
    """Return changes in an order that is the same for all that come to the same."""
    data = [change for change in chosen if isinstance(change, Write | Zero)]
    data.sort(key=lambda change: (change.file, change.offset))
    for a, b in itertools.pairwise(data):
        if a.file == b.file and a.offset + a.length > b.offset:
            return tuple(chosen)
    resized = {change.file for change in chosen if isinstance(change, Resize)}
    if any(change.file in resized for change in data):
        return tuple(chosen)
    return (*data, *(change for change in chosen if not isinstance(change, Write | Zero)))


def lies(medium: Medium, log: Sequence[Entry], seed: int, count: int) -> Iterator[Crash]:
    """Yield `count` states after a flush that did nothing, up to the next one of the same file."""
    chance = random.Random(seed)
    flushes = [
        number
        for number, entry in enumerate(log)
        if isinstance(entry.operation, Flush | FlushNames)
    ]
    moments: dict[int, list[Point]] = {}
    for _ in range(count):
        liar = chance.choice(flushes)
        if liar not in moments:
            again = (n for n in flushes if n > liar and log[n].operation == log[liar].operation)
            stop = next(again, len(log))
            moments[liar] = list(points(medium, [*log[:liar], *log[liar + 1 : stop]]))[liar - 1 :]
        crash = _drawn(chance.choice(moments[liar]), chance)
        yield Crash(replace(crash.point, step=log[liar].step), "lied", crash.chosen)


def _drawn(point: Point, chance: random.Random) -> Crash:
    """Draw a state: the last change takes part, the others by chance, some of them torn."""
    pending = point.medium.pending
    share = chance.choice((0.1, 0.5, 0.9))
    kept = [change for change in pending[:-1] if chance.random() < share]
    kept += pending[-1:]
    if chance.random() < 0.5:
        kept = _reordered(kept, chance)
    tear = chance.choice((None, *TEARS))
    if tear is None:
        return Crash(point, "subset", tuple(kept))
    chosen: list[Change] = []
    torn = False
    for change in kept:
        pieces = _pieces(change, tear)
        if len(pieces) > 1 and chance.random() < 0.5:
            part = chance.choice((0.1, 0.5, 0.9))
            pieces = [piece for piece in pieces if chance.random() < part]
            torn = True
        chosen += pieces
    return Crash(point, f"torn {tear}" if torn else "subset", tuple(chosen))


def _reordered(changes: Sequence[Change], chance: random.Random) -> list[Change]:
    """Shuffle what is written; names of a folder change in the order they were changed in."""
    names = [change for change in changes if isinstance(change, Names)]
    others = [change for change in changes if not isinstance(change, Names)]
    chance.shuffle(others)
    return [*others, *names]


def _pieces(change: Change, size: int) -> list[Change]:
    """Cut a change on the borders of the medium's blocks."""
    if not isinstance(change, Write | Zero):
        return [change]
    lead = -change.offset % size
    starts = [0, *range(lead or size, change.length, size), change.length]
    return [change.part(start, stop) for start, stop in itertools.pairwise(starts) if start < stop]

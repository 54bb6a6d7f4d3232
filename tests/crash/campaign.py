# SPDX-License-Identifier: Apache-2.0
"""Many states of many bootloaders, judged by several processes, and counted by step."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from tests.crash.judge import Judge, Verdict
from tests.crash.loaders import LOADERS
from tests.crash.media import Medium
from tests.crash.rig import Channel, Recording, Rig, record_proof, record_update
from tests.crash.states import Crash, crashes, lies, points

SEED = 20_261
PARTS = 2
"""Pieces that the states of one bootloader are dealt out in, to be judged side by side."""

LEAST = 2
"""States of each step from which the device goes on, whatever the chance."""

PROOFS = 400
"""States of the proof after the boot, at most: it writes little, and there are not many more."""

Row: TypeAlias = tuple[str, str]
"""Name of the bootloader, and step of the update."""


@dataclass(slots=True)
class Tally:
    """What became of the states of one row.

    Attributes:
        tried, held: states that a medium may hold.
        continued: of these, those in which the next run was made.
        lied, lied_held: states after a flush that did nothing.
        left: what slot B held.
        boots: which slot.
        then: what the next run did.
    """

    tried: int = 0
    held: int = 0
    continued: int = 0
    lied: int = 0
    lied_held: int = 0
    left: Counter[str] = field(default_factory=Counter)
    boots: Counter[str] = field(default_factory=Counter)
    then: Counter[str] = field(default_factory=Counter)
    ways: Counter[str] = field(default_factory=Counter)

    def count(self, crash: Crash, verdict: Verdict) -> None:
        """Add one state."""
        if crash.way == "lied":
            self.lied += 1
            self.lied_held += not verdict.wrong
            return
        self.tried += 1
        self.held += not verdict.wrong
        self.ways[crash.way] += 1
        self.left[verdict.content] += 1
        self.boots[verdict.boots or "none"] += 1
        if verdict.then:
            self.continued += 1
            self.then[verdict.then] += 1

    def add(self, other: Tally) -> None:
        """Add another one's counts."""
        for name in ("tried", "held", "continued", "lied", "lied_held"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        for name in ("left", "boots", "then", "ways"):
            getattr(self, name).update(getattr(other, name))


@dataclass(slots=True)
class Result:
    """What a campaign found.

    Attributes:
        rows: in the order of the update.
        failures: what was wrong, with the state's place; those of lies are not among them.
    """

    rows: dict[Row, Tally] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def count(self, name: str, crash: Crash, verdict: Verdict) -> None:
        """Add one state of a bootloader."""
        self.rows.setdefault((name, crash.point.step), Tally()).count(crash, verdict)
        if verdict.wrong and crash.way != "lied":
            place = f"{name}, {crash.point.step}, operation {crash.point.number}, {crash.way}"
            self.failures.append(f"{place}: {'; '.join(verdict.wrong)}")

    def add(self, other: Result) -> None:
        """Add another one's rows."""
        for row, tally in other.rows.items():
            self.rows.setdefault(row, Tally()).add(tally)
        self.failures += other.failures


def states_of(recording: Recording, count: int, every: int) -> Iterator[tuple[Crash, bool]]:
    """Yield states, and whether the next run is made: legal ones, then a twentieth as many lies.

    The next run is made from every `every`-th state, by chance, and from `LEAST` of each step.
    """
    medium = Medium.holding(recording.before)
    legal = crashes(list(points(medium, recording.log)), SEED, count)
    chance = random.Random(SEED)
    went_on: Counter[str] = Counter()
    for crash in itertools.chain(legal, lies(medium, recording.log, SEED, count // 20)):
        step = crash.point.step
        run_next = chance.randrange(every) == 0 or went_on[step] < LEAST
        went_on[step] += run_next
        yield crash, run_next


def run(folder: Path, channel: Channel, count: int, every: int) -> Result:
    """Try `count` states, as many for each bootloader.

    Args:
        folder: for the devices; is there, and best in memory.
        channel: where the releases are.
        count: of states that a medium may hold.
        every: from every so-manieth the next run is made.
    """
    share = -(-count // len(LOADERS))
    work = []
    for number, loader in enumerate(LOADERS):
        updated = record_update(Rig(folder / f"device-{number}", loader, channel).make())
        proof = record_proof(updated)
        proofs = min(share // 4, PROOFS)
        for part in range(PARTS):
            work += [(updated, share - proofs, part), (proof, proofs, part)]
    result = Result()
    # Forked, so that the recordings are there; nothing of them goes through a pipe.
    with ProcessPoolExecutor(
        os.cpu_count(),
        multiprocessing.get_context("fork"),
        initializer=_take,
        initargs=(work, folder, every),
    ) as pool:
        for found in pool.map(_judge_part, range(len(work))):
            result.add(found)
    return result


_work: Sequence[tuple[Recording, int, int]] = ()
_folder = Path()
_every = 1


def _take(work: Sequence[tuple[Recording, int, int]], folder: Path, every: int) -> None:
    global _work, _folder, _every
    _work, _folder, _every = work, folder, every


def _judge_part(number: int) -> Result:
    recording, count, part = _work[number]
    judge = Judge(recording, _folder / f"judge-{number}")
    result = Result()
    states = states_of(recording, count, _every)
    for crash, run_next in itertools.islice(states, part, None, PARTS):
        verdict = judge.judge(crash, run_next=run_next)
        result.count(recording.rig.loader.name, crash, verdict)
    return result

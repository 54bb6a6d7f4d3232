# SPDX-License-Identifier: Apache-2.0
"""Where in a log of writes the power goes, drawn by chance; the command that does it N times."""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.vm.volatile_disk import KEPT, Loss, Tear
from tests.vm.write_log import Entry, crash


@dataclass(frozen=True, slots=True)
class CrashPoint:
    """One cut.

    Attributes:
        point: how many requests came before it.
        tear: into what unflushed writes fall apart.
        kept: how likely a piece of them is on the medium.
        seed: decides which.
    """

    point: int
    tear: Tear
    kept: float
    seed: int

    @classmethod
    def drawn(cls, points: Sequence[int], chance: random.Random) -> CrashPoint:
        """Draw one, after one of these numbers of requests."""
        tear, kept = chance.choice(list(Tear)), chance.choice(KEPT)
        return cls(chance.choice(points), tear, kept, chance.randrange(1 << 32))

    def __str__(self) -> str:
        return f"after {self.point} requests, {self.tear}, kept {self.kept}, seed {self.seed}"

    def apply(self, image: Path, entries: Sequence[Entry]) -> Loss:
        """Bring an image, which is as it was before all requests, to this state."""
        chance = random.Random(self.seed)
        return crash(image, entries[: self.point], self.tear, self.kept, chance)


def ended(ends: Sequence[int], point: int) -> int:
    """Return how many steps had ended when so many requests had come."""
    return sum(end <= point for end in ends)


def crash_command(module: str, crashes: Callable[[int, int], int]) -> int:
    """Crash as often as the command line says.

    Args:
        module: what is run.
        crashes: takes how often, and a seed; returns how many bytes were lost.
    """
    parser = argparse.ArgumentParser(prog=f"python -m {module}")
    parser.add_argument("count", type=int, metavar="N")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    args = parser.parse_args()
    print(f"seed {args.seed}", flush=True)
    lost = crashes(args.count, args.seed)
    print(f"{args.count} crashes, {lost} bytes lost, all readable and at most one step old")
    return 0

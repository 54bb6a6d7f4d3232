# SPDX-License-Identifier: Apache-2.0
"""Boot environments on FAT after crashes; see `fat_crashes` for what has to hold."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.vm.crash_points import CrashPoint
from tests.vm.fat_crashes import crash_once, crashes
from tests.vm.fat_recording import record
from tests.vm.fat_steps import Flaw

pytestmark = [pytest.mark.vm, pytest.mark.timeout(900)]

CRASHES = 150
STEPS = 8
"""Of a recording with a flaw: each slot goes once through its life."""
BROKEN = 80


@pytest.fixture
def memory() -> Iterator[Path]:
    """A folder in memory: a disk takes its time for each flush."""
    with TemporaryDirectory(prefix="crashes-", dir="/dev/shm") as folder:
        yield Path(folder)


def test_after_a_crash_the_environments_on_fat_boot_and_are_at_most_one_step_old() -> None:
    assert crashes(CRASHES, 1) > 0


def test_each_flaw_of_a_backend_is_seen_after_a_crash(memory: Path) -> None:
    flaws = [flaw for flaw in Flaw if flaw is not Flaw.NONE]
    for flaw, recording in record(memory / "recording", flaws, STEPS).items():
        chance = random.Random(1)
        cuts = [CrashPoint.drawn(recording.points, chance) for _ in range(BROKEN)]
        states = [crash_once(recording, memory, cut) for cut in cuts]
        assert any(state.wrong for state in states), flaw

# SPDX-License-Identifier: Apache-2.0
"""Bits that flip where they lie, before a whole update."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.updater.device import ENVIRONMENT
from tests.updater.faults.rig import IMAGE_LENGTH, SEED, TARGET, Rig

FLIPS = 4


def _flip(rig: Rig, path: Path, places: Sequence[int], seed: int) -> None:
    chance = random.Random(seed)
    data = path.read_bytes()
    for at in chance.sample(places, FLIPS):
        rig.scribble(path, at, bytes([data[at] ^ 1 << chance.randrange(8)]))


def _codes(rig: Rig, status: int = 0) -> list[str]:
    done = rig.device.run("update", rig.published.releases[3], "--json")
    assert done.status == status, done.err
    rig.sound()
    return [line["code"] for line in done.lines if "code" in line]


@pytest.mark.parametrize("seed", range(3))
def test_a_seed_that_rots_is_made_up_for_by_the_store(rig: Rig, seed: int) -> None:
    sound = rig.lacking()
    _flip(rig, rig.device.disk, [SEED + at for at in rig.asked_of_seed()], seed)
    assert rig.lacking() > sound
    rig.finish()


@pytest.mark.parametrize("seed", range(3))
def test_a_target_that_rots_is_mended(rig: Rig, seed: int) -> None:
    _flip(rig, rig.device.disk, range(TARGET, TARGET + IMAGE_LENGTH), seed)
    assert not rig.holds(1)
    rig.finish()


@pytest.mark.parametrize("copies", [(0,), (1,), (0, 1)])
def test_a_state_that_rots_is_told_of(rig: Rig, copies: tuple[int, ...]) -> None:
    for number in copies:
        path = rig.state / f"state-{number}.json"
        _flip(rig, path, range(path.stat().st_size), number)
    lost = ["state.lost"] if len(copies) == 2 else []
    assert _codes(rig) == ["state.damaged"] * len(copies) + lost
    assert rig.holds(3)
    assert rig.device.boot_state().next == "B"


def test_the_older_copy_of_the_environment_may_rot(rig: Rig) -> None:
    _flip(rig, rig.device.folder / "env0", range(ENVIRONMENT), 1)
    assert _codes(rig) == ["boot.damaged"]
    assert rig.device.boot_state().warnings == ()
    assert rig.device.boot_state().next == "B"


def test_a_newer_copy_that_rots_puts_the_update_off_until_the_slot_proves_good(rig: Rig) -> None:
    """The older one is from before slot A was made: slot B starts, which is whole and good."""
    _flip(rig, rig.device.folder / "env1", range(ENVIRONMENT), 1)
    done = rig.device.run("update", rig.published.releases[3], "--json")
    assert (done.status, done.last["code"]) == (75, "agent.not-proved"), done.err
    rig.untouched()
    assert rig.device.boot_state().next == "B"
    assert rig.holds(1)
    rig.device.must("mark-good")
    rig.finish()


def test_two_copies_that_rot_are_not_guessed(rig: Rig) -> None:
    for number in (0, 1):
        _flip(rig, rig.device.folder / f"env{number}", range(ENVIRONMENT), number)
    done = rig.device.run("update", rig.published.releases[3], "--json")
    assert (done.status, done.last["code"]) == (78, "boot.environment-invalid"), done.err
    rig.untouched()

# SPDX-License-Identifier: Apache-2.0
"""A medium that fails, lies or is full, under a whole update of the real process.

Whatever it does: the device starts, the slot that runs is as it was, the other one is bad or whole,
and the next run finishes without fetching what was right.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass, replace

import pytest

from tests.updater.device import MIB, SLOT_LENGTH
from tests.updater.faults.machine import Fault
from tests.updater.faults.rig import IMAGE_LENGTH, SEED, TARGET, Rig

DISK, ENVIRONMENT, STATE = "disk.img", "device/env", "/state/.#"
OLDER, NEWER = "device/env0", "device/env1"
"""Which copy of the environment is in force before the update."""

ACTIVATING = 1
"""Writes of the environment before the one that activates: the one that marks the slot bad."""


@dataclass(frozen=True, slots=True)
class Case:
    """A fault, and how the run ends that meets it.

    Attributes:
        code: of the error; None where the update gets along with it.
        untouched: neither disk nor environment is written.
    """

    fault: Fault
    status: int = 0
    code: str | None = None
    untouched: bool = False


def _medium(fault: Fault, untouched: bool = False) -> Case:
    return Case(fault, 74, "image.device-fault", untouched)


def _environment(fault: Fault, untouched: bool = False) -> Case:
    return Case(fault, 74, "boot.environment-fault", untouched)


READING, WRITING = Fault("read", DISK), Fault("write", DISK)
MIDDLE = TARGET + 4 * MIB
CASES: dict[str, Case] = {
    "the seed's superblock cannot be read": Case(READING.within(SEED, SEED + 4096)),
    "nothing of the seed can be read": Case(READING.within(SEED, SEED + SLOT_LENGTH)),
    # Writing may heal a sector, so the update goes on, and reading back tells that it did not.
    "the target's first sector cannot be read": _medium(READING.within(TARGET, TARGET + 512)),
    "a sector of the target cannot be read": _medium(READING.within(MIDDLE, MIDDLE + 512)),
    "the target's last sector cannot be read": _medium(
        READING.within(TARGET + IMAGE_LENGTH - 512, TARGET + IMAGE_LENGTH)
    ),
    "a sector of the target cannot be read until it is written": Case(
        replace(READING, times=1).within(MIDDLE, MIDDLE + 512)
    ),
    "nothing of the target can be read": _medium(
        READING.within(TARGET, TARGET + SLOT_LENGTH), untouched=True
    ),
    "one copy of the state cannot be read": Case(Fault("read", "state-0.json")),
    "the other copy of the state cannot be read": Case(Fault("read", "state-1.json")),
    "the seed's index cannot be read": Case(Fault("read", "index-A-rootfs.caibx")),
    "the older copy of the environment cannot be read": _environment(
        Fault("read", OLDER), untouched=True
    ),
    # What the older one says is that slot A is being tried.
    "the newer copy of the environment cannot be read": Case(
        Fault("read", NEWER), 75, "agent.not-proved", untouched=True
    ),
    "no copy of the environment can be read": Case(
        Fault("read", ENVIRONMENT), 78, "boot.environment-invalid", untouched=True
    ),
    "the target cannot be written": _medium(WRITING),
    "a later write of the target fails once": _medium(replace(WRITING, skip=5, times=1)),
    "the target cannot be flushed": _medium(Fault("flush", DISK)),
    "the environment cannot be written": _environment(Fault("write", ENVIRONMENT), untouched=True),
    "the environment cannot be written at the end": _environment(
        Fault("write", ENVIRONMENT, skip=ACTIVATING)
    ),
    # It was written, and nobody knows whether it will stay.
    "the environment cannot be flushed": _environment(Fault("flush", ENVIRONMENT)),
    "the environment cannot be flushed at the end": _environment(
        Fault("flush", ENVIRONMENT, skip=ACTIVATING)
    ),
    "the state cannot be written": _medium(Fault("write", STATE)),
    "the state cannot be flushed": _medium(Fault("flush", STATE)),
    "the state's files cannot be renamed": _medium(Fault("rename", "/state/")),
    "the target drops a write": _medium(replace(WRITING, kind="dropped", skip=3, times=1)),
    "the target drops all writes": _medium(replace(WRITING, kind="dropped")),
    "the target corrupts a write": _medium(replace(WRITING, kind="corrupted", skip=3, times=1)),
    "the target's reads and writes are short": Case(replace(WRITING, kind="short")),
    "reads of the disk are short": Case(replace(READING, kind="short")),
    "a bit of the target flips whenever it is read": _medium(
        replace(READING, kind="corrupted").within(MIDDLE, MIDDLE + 1)
    ),
    "a bit of the target flips once when it is read": Case(
        replace(READING, kind="corrupted", times=1).within(MIDDLE, MIDDLE + 1)
    ),
    "the environment drops a write": _environment(
        Fault("write", ENVIRONMENT, "dropped", times=1), untouched=True
    ),
    "the environment drops the last write": _environment(
        Fault("write", ENVIRONMENT, "dropped", skip=ACTIVATING)
    ),
    "the environment corrupts a write": _environment(
        Fault("write", ENVIRONMENT, "corrupted", times=1)
    ),
    "the environment corrupts the last write": _environment(
        Fault("write", ENVIRONMENT, "corrupted", skip=ACTIVATING)
    ),
    "the environment's writes are short": Case(Fault("write", ENVIRONMENT, "short")),
    "the state drops a write": Case(Fault("write", STATE, "dropped", times=1)),
    "the state corrupts its writes": Case(Fault("write", STATE, "corrupted")),
    "the state's writes are short": Case(Fault("write", STATE, "short")),
}


@pytest.mark.parametrize("name", CASES)
def test_the_device_starts_and_the_next_run_finishes(rig: Rig, name: str) -> None:
    _hold(rig, CASES[name])


@pytest.mark.parametrize("kind", ["error", "corrupted"])
def test_the_store_has_what_a_seed_does_not_give(rig: Rig, kind: str) -> None:
    places = rig.asked_of_seed()
    at = SEED + places[len(places) // 2]
    lacking = rig.lacking()
    done = rig.update(replace(READING, kind=kind).within(at, at + 1))
    assert done.status == 0, done.err
    (image,) = done.last["images"]
    assert image["bytes_fetched"] > lacking
    assert rig.holds(3)
    rig.finish()


@pytest.mark.parametrize("kind", ["error", "dropped"])
def test_zeros_that_do_not_come_are_noticed(rig: Rig, kind: str) -> None:
    path, start, length = rig.device.disk, TARGET + 6 * MIB, MIB
    assert not any(rig.published.images[3].read_bytes()[start - TARGET :][:length])
    rig.scribble(path, start, b"\xff" * length)
    _hold(rig, _medium(Fault("zero", DISK, kind)))


@pytest.mark.parametrize("call", ["create", "write"])
def test_a_full_disk_is_told_of_wherever_the_state_is_written(rig: Rig, call: str) -> None:
    places = 0
    while True:
        full = Fault(call, "/state/", value=errno.ENOSPC, skip=places)
        done = rig.update(full, has_to_meet=False)
        rig.sound()
        if not rig.met:
            break
        # The lock's text is for people only: the update goes on without it.
        lock_only = call == "write" and places == 0 and len(rig.met) == 1
        assert (done.status, done.last.get("code")) == (
            (0, None) if lock_only else (78, "image.no-space")
        ), done.err
        rig.finish()
        rig.restore()
        places += 1
    assert done.status == 0
    assert places >= 5


def _hold(rig: Rig, case: Case) -> None:
    done = rig.update(case.fault)
    assert (done.status, done.last.get("code")) == (case.status, case.code), done.err
    rig.sound()
    if case.untouched:
        rig.untouched()
    if case.code is None:
        assert rig.holds(3)
        assert rig.device.boot_state().next == "B"
    rig.finish()

# SPDX-License-Identifier: Apache-2.0
"""The agent broken on purpose, in each way that matters: the harness sees every one of them."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import boot.storage
import images.durable
import images.target
from boot.uboot import UBoot
from images.target import Target
from tests.crash.campaign import SEED
from tests.crash.judge import Judge
from tests.crash.loaders import LOADERS
from tests.crash.media import Medium
from tests.crash.rig import Rig, record_update
from tests.crash.states import crashes, points
from updater.agent import install
from updater.agent.machine import Machine
from updater.slots import SlotGroup
from updater.state import Content, SlotRecord

ONLY_UBOOT = pytest.mark.parametrize("loader", LOADERS[:1], ids=["U-Boot"])
STATES = 300
Break = Callable[[pytest.MonkeyPatch], None]


def _nothing(*_: object) -> None:
    """What is left out."""


def _no_flush_of_the_slot(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(images.target.Target, "settle", _nothing)


def _no_flush_of_the_environment(patch: pytest.MonkeyPatch) -> None:
    real = boot.storage.overwrite

    def overwrite(path: Path, offset: int, data: bytes) -> None:
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(os, "fsync", _nothing)
            real(path, offset, data)

    patch.setattr("boot.media.overwrite", overwrite)


def _flip_before_settle(patch: pytest.MonkeyPatch) -> None:
    real = UBoot.mark_bad

    def mark_bad(loader: UBoot, slot: str) -> None:
        real(loader, slot)
        loader.set_primary(slot, 3)

    patch.setattr(UBoot, "mark_bad", mark_bad)


def _not_marked_bad_first(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(UBoot, "mark_bad", _nothing)


def _marked_bad_the_wrong_slot(patch: pytest.MonkeyPatch) -> None:
    real = UBoot.mark_bad
    patch.setattr(UBoot, "mark_bad", lambda loader, slot: real(loader, "A"))


def _recorded_before_settle(patch: pytest.MonkeyPatch) -> None:
    real = Machine.remember_slot

    def remember_slot(machine: Machine, group: SlotGroup, record: SlotRecord, what: str) -> None:
        if record.content is Content.WRITING:
            record = replace(record, content=Content.VERIFIED)
        real(machine, group, record, what)

    patch.setattr(Machine, "remember_slot", remember_slot)


def _no_flush_of_the_state(patch: pytest.MonkeyPatch) -> None:
    real = images.durable.replace_file

    def replace_file(path: Path, data: bytes, mode: int) -> None:
        fsync = os.fsync
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(os, "fsync", lambda fd: _of_folder(fd) and fsync(fd))
            real(path, data, mode)

    patch.setattr("updater.state_files.replace_file", replace_file)
    patch.setattr("updater.state_files.StateFiles.__init__.__kwdefaults__", {"write": replace_file})


def _no_flush_of_the_names(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(images.durable, "sync_folder", _nothing)


def _state_in_place(patch: pytest.MonkeyPatch) -> None:
    def write(path: Path, data: bytes, mode: int) -> None:
        for copy in (0, 1):
            fd = os.open(path.with_name(f"state-{copy}.json"), os.O_WRONLY | os.O_TRUNC)
            os.write(fd, data)
            os.fsync(fd)
            os.close(fd)

    patch.setattr("updater.state_files.StateFiles.__init__.__kwdefaults__", {"write": write})


def _right_blocks_written_again(patch: pytest.MonkeyPatch) -> None:
    def all_of_it(target: Target, position: int, data: memoryview) -> list[tuple[int, int]]:
        return [(0, len(data))]

    patch.setattr(Target, "_differing", all_of_it)


def _seeds_forgotten(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(install, "seeds_for", lambda *_: [])


def _of_folder(fd: int) -> bool:
    return os.path.isdir(f"/proc/self/fd/{fd}")


MIXED = "a slot that is not whole may boot"
LOST = "a state that was saved is lost"
UNTRUE = "the state takes a slot for right that is not"
BROKEN: tuple[tuple[Break, str], ...] = (
    (_no_flush_of_the_slot, MIXED),
    (_no_flush_of_the_environment, MIXED),
    (_flip_before_settle, MIXED),
    (_not_marked_bad_first, MIXED),
    (_marked_bad_the_wrong_slot, "the slot that runs is no longer what to fall back to"),
    (_recorded_before_settle, UNTRUE),
    (_no_flush_of_the_state, LOST),
    (_no_flush_of_the_names, LOST),
    (_state_in_place, LOST),
    (_right_blocks_written_again, "bytes that were right are written again"),
    (_seeds_forgotten, "bytes that were there are fetched again"),
)


def _complaints(rig: Rig, folder: Path) -> set[str]:
    """Return what is wrong in the states of one update, without numbers."""
    recording = record_update(rig)
    judge = Judge(recording, folder)
    moments = list(points(Medium.holding(recording.before), recording.log))
    found: set[str] = set()
    for number, crash in enumerate(crashes(moments, SEED, STATES)):
        wrong = judge.judge(crash, run_next=number % 25 == 0).wrong
        found.update(text.lstrip("0123456789 ") for text in wrong)
    return found


@ONLY_UBOOT
def test_as_it_is_nothing_is_wrong(rig: Rig, tmp_path: Path) -> None:
    assert _complaints(rig, tmp_path / "judge") == set()


@ONLY_UBOOT
@pytest.mark.parametrize(
    ("broken", "seen"), BROKEN, ids=[each.__name__.strip("_") for each, _ in BROKEN]
)
def test_an_agent_that_is_broken_on_purpose_is_seen(
    rig: Rig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: Break, seen: str
) -> None:
    broken(monkeypatch)
    assert seen in _complaints(rig, tmp_path / "judge")

# SPDX-License-Identifier: Apache-2.0
"""A cut at any moment of an update: what a medium may hold then boots, and the next run finishes.

2,520 states here, 360 of each bootloader; `python -m tests.crash` tries as many as one likes.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from boot.uboot import UBoot
from tests.crash.campaign import Result, states_of
from tests.crash.judge import Judge
from tests.crash.loaders import LOADERS
from tests.crash.media import Medium
from tests.crash.page import page
from tests.crash.recorder import replayed
from tests.crash.rig import Recording, Rig, record_proof, record_update

EVERY = 8
UPDATE = {"open", "mark target bad", "write slot", "settle", "record", "activate"}
PROOF = {"open", "mark good"}


def _tried(recording: Recording, folder: Path, count: int) -> Result:
    judge = Judge(recording, folder)
    result = Result()
    for crash, run_next in states_of(recording, count, EVERY):
        verdict = judge.judge(crash, run_next=run_next)
        result.count(recording.rig.loader.name, crash, verdict)
    return result


def test_the_log_replayed_over_the_files_as_they_were_gives_the_files_as_they_are(
    updated: Recording,
) -> None:
    """Nothing gets past the recorder: neither module nor call."""
    assert updated.before["slot-b.img"] == updated.rig.channel.images[0]
    assert updated.after["slot-b.img"] == updated.rig.channel.images[2]
    assert replayed(Medium.holding(updated.before), updated.log) == updated.after
    assert {entry.step for entry in updated.log} == UPDATE
    proof = record_proof(updated)
    assert replayed(Medium.holding(proof.before), proof.log) == proof.after
    assert {entry.step for entry in proof.log} == PROOF


def test_what_a_cut_in_an_update_may_leave_boots_is_whole_and_goes_on(
    updated: Recording, tmp_path: Path
) -> None:
    result = _tried(updated, tmp_path / "judge", 300)
    assert result.failures == []
    assert sum(tally.tried for tally in result.rows.values()) == 300
    assert {step for _, step in result.rows} == UPDATE
    assert all(tally.continued >= 2 for tally in result.rows.values())
    table = page(result, "a command")
    assert all(f"| {updated.rig.loader.name} | {step} |" in table for step in UPDATE)


def test_what_a_cut_in_the_proof_may_leave_boots_is_whole_and_goes_on(
    updated: Recording, tmp_path: Path
) -> None:
    result = _tried(record_proof(updated), tmp_path / "judge", 60)
    assert result.failures == []
    assert sum(tally.tried for tally in result.rows.values()) == 60
    assert {step for _, step in result.rows} == PROOF


@pytest.mark.parametrize("loader", LOADERS[:1], ids=["U-Boot"])
def test_a_write_past_the_recorder_is_seen(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    real = UBoot.set_primary

    def set_primary(loader: UBoot, slot: str, tries: int) -> None:
        (rig.folder / "state/note").write_text("by another way")
        real(loader, slot, tries)

    monkeypatch.setattr(UBoot, "set_primary", set_primary)
    recording = record_update(rig)
    assert replayed(Medium.holding(recording.before), recording.log) != recording.after

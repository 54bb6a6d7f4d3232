# SPDX-License-Identifier: Apache-2.0
"""Hooks, byte caps, the lock, damage of what is remembered, and slots that must not be written."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.updater.agent.conftest import MakeDevice, Published
from tests.updater.device import Device
from updater.lock import Lock


def _hook(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_hooks_are_told_what_happens(new_device: MakeDevice, tmp_path: Path) -> None:
    log = tmp_path / "log"
    hook = _hook(tmp_path / "hook", f'echo "$CAFLIP_HOOK $CAFLIP_VERSION $CAFLIP_SLOT" >> {log}')
    device = new_device(f'[hooks]\nbefore = ["{hook}"]\nafter = ["{hook}"]\nfailed = ["{hook}"]\n')
    log.unlink()  # of the provisioning
    device.must("update")
    assert log.read_text().splitlines() == ["before 2.0 B", "after 2.0 B"]


def test_a_hook_that_says_no_puts_the_update_off(new_device: MakeDevice, tmp_path: Path) -> None:
    hook = _hook(tmp_path / "hook", "[ $CAFLIP_VERSION = 1.0 ]")
    device = new_device(f'[hooks]\nbefore = ["{hook}"]\n')
    before = device.everything()
    done = device.run("update", "--json")
    assert (done.status, done.last["code"]) == (75, "agent.hook-failed")
    assert device.everything() == before


def test_a_veto_at_the_end_keeps_the_slot_inactive(
    new_device: MakeDevice, tmp_path: Path, published: Published
) -> None:
    failed = tmp_path / "failed"
    veto = _hook(tmp_path / "veto", "[ $CAFLIP_VERSION = 1.0 ]")
    tell = _hook(tmp_path / "tell", f'echo "$CAFLIP_ERROR" > {failed}')
    device = new_device(f'[hooks]\nafter = ["{veto}"]\nfailed = ["{tell}"]\n')
    done = device.run("update", "--json")
    assert (done.status, done.last["code"]) == (75, "agent.hook-failed")
    assert device.holds("B", published.images[2])
    assert device.boot_state().next == "A"
    assert "after" in failed.read_text()


def test_a_hook_that_hangs_is_ended(new_device: MakeDevice, tmp_path: Path) -> None:
    hook = _hook(tmp_path / "hook", "[ $CAFLIP_VERSION = 1.0 ] || exec sleep 600")
    device = new_device(f'[hooks]\nbefore = ["{hook}"]\ntimeout-s = 0.5\n')
    done = device.run("update", "--json")
    assert (done.status, done.last["code"]) == (75, "agent.hook-failed")


def test_an_update_that_is_too_dear_is_refused_before_anything_is_written(
    new_device: MakeDevice,
) -> None:
    # Provisioning counts too, so the limit comes afterwards.
    device = new_device()
    with device.config.open("a") as config:
        config.write("[update]\nmost-download = 1000\n")
    before = device.everything()
    done = device.run("update", "--json")
    assert (done.status, done.last["code"]) == (78, "agent.too-dear")
    assert device.everything() == before


def test_a_second_agent_says_who_holds_the_lock(device: Device) -> None:
    before = device.everything()
    with Lock(device.folder / "state", "update"):
        done = device.run("update", "--json")
    assert (done.status, done.last["code"]) == (75, "agent.locked")
    assert "caflip update" in done.last["message"]
    assert device.everything() == before
    device.must("status")


@pytest.mark.parametrize("copies", [["state-0.json"], ["state-1.json"]])
def test_one_damaged_copy_of_the_state_is_told_of_and_mended(
    device: Device, copies: list[str]
) -> None:
    for name in copies:
        (device.folder / "state" / name).write_bytes(b"{}")
    assert device.must("status", "--json").last["highest_sequence"] == 1
    done = device.must("update", "--json")
    assert "state.damaged" in [e.get("code") for e in done.lines]
    device.boot()
    again = device.must("health", "--json", running="B")
    assert "state.damaged" not in [e.get("code") for e in again.lines]


def test_with_no_state_left_the_update_still_works(device: Device, published: Published) -> None:
    for path in (device.folder / "state").glob("state-*.json"):
        path.write_bytes(b"\xff" * 100)
    device.must("update")
    assert device.holds("B", published.images[2])
    assert device.boot() == "B"
    device.must("health", running="B")


def test_a_torn_copy_of_the_environment_is_told_of_and_mended(device: Device) -> None:
    newer = max(
        (device.folder / "env0", device.folder / "env1"), key=lambda path: path.stat().st_mtime_ns
    )
    data = bytearray(newer.read_bytes())
    data[2000] ^= 0xFF
    newer.write_bytes(data)
    # What the other copy says is older: slot A had not been proved.
    done = device.must("health", "--json")
    assert "boot.damaged" in [e.get("code") for e in done.lines]
    assert device.boot_state().warnings == ()
    device.must("update")


def test_two_damaged_copies_are_never_guessed(device: Device) -> None:
    for name in ("env0", "env1"):
        (device.folder / name).write_bytes(b"\xaa" * 4096)
    before = device.everything()
    done = device.run("update", "--json")
    assert (done.status, done.last["code"]) == (78, "boot.environment-invalid")
    assert device.everything() == before


def test_the_running_slot_is_never_written_also_by_name(
    device: Device, published: Published
) -> None:
    before = device.everything()
    done = device.run("install", published.releases[3], "--slot=A", "--json")
    assert (done.status, done.last["code"]) == (78, "slot.active")
    assert device.everything() == before


def test_without_knowing_what_runs_nothing_is_written(device: Device) -> None:
    before = device.everything()
    done = device.run("update", "--json", running=None)
    assert (done.status, done.last["code"]) == (78, "slot.unclear")
    assert device.everything() == before

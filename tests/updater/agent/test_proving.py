# SPDX-License-Identifier: Apache-2.0
"""After the boot: proved, or given up and never tried for ever."""

from __future__ import annotations

import pytest

from boot.bootloader import SlotState
from tests.updater.agent.conftest import MakeDevice, Published
from tests.updater.device import Device

SICK = '[health]\ncommands = [["/bin/false"]]\nattempts = 1\n'


def test_a_healthy_slot_is_marked_good_and_the_sequence_goes_up(device: Device) -> None:
    device.must("update")
    assert device.boot() == "B"
    proof = device.must("health", "--json", running="B").last
    assert proof["verdict"] == "proved good"
    assert device.boot_state().slot("B").state is SlotState.GOOD
    assert device.must("status", "--json", running="B").last["highest_sequence"] == 2


def test_a_second_look_changes_nothing(device: Device) -> None:
    device.must("update")
    device.boot()
    device.must("health", running="B")
    before = device.everything()
    assert device.must("health", "--json", running="B").last["verdict"] == "already good"
    assert device.everything() == before


def test_a_slot_that_never_proves_good_falls_back_after_its_tries(device: Device) -> None:
    device.must("update")
    assert [device.boot() for _ in range(4)] == ["B", "B", "B", "A"]
    found = device.must("health", "--json").last
    assert (found["verdict"], found["fell_back_from"]) == ("fell back", "B")
    assert device.boot_state().slot("B").state is SlotState.BAD
    history = device.must("history", "--json", running=None).last
    assert [entry["what"] for entry in history["entries"]][-1] == "failed"
    (failure,) = history["failures"].values()
    assert failure["count"] == 1
    assert "fell back" in failure["reason"]


def test_a_release_that_failed_waits_longer_each_time_and_then_for_a_person(
    device: Device,
) -> None:
    for count in (1, 2, 3):
        device.must("update", *(["--retry"] if count > 1 else []))
        assert [device.boot() for _ in range(4)] == ["B", "B", "B", "A"]
        device.must("health")
        (failure,) = device.must("history", "--json", running=None).last["failures"].values()
        assert failure["count"] == count
        assert (failure["not_before"] is None) == (count == 3)
        before = device.everything()
        refused = device.run("update", "--json")
        assert (refused.status, refused.last["code"]) == (65, "release.given-up")
        assert device.everything() == before


def test_an_unhealthy_slot_is_marked_bad_and_the_old_one_boots(
    new_device: MakeDevice,
) -> None:
    device = new_device(SICK)
    device.must("update")
    assert device.boot() == "B"
    sick = device.run("health", "--json", running="B")
    assert (sick.status, sick.last["code"]) == (65, "agent.unhealthy")
    assert device.boot_state().slot("B").state is SlotState.BAD
    assert device.boot() == "A"
    assert device.must("status", "--json").last["highest_sequence"] == 1
    assert device.run("update").status == 65


def test_an_unhealthy_slot_stays_when_nothing_else_can_boot(
    new_device: MakeDevice,
) -> None:
    device = new_device(SICK)
    device.must("update")
    device.boot()
    device.bootloader.mark_bad("A")
    before = device.boot_state().slot("B")
    assert device.run("health", running="B").status == 65
    assert device.boot_state().slot("B") == before


@pytest.mark.parametrize("slot", ["A", "B"])
def test_the_last_slot_that_boots_is_not_marked_bad(device: Device, slot: str) -> None:
    before = device.everything()
    done = device.run("mark-bad", slot, "--json")
    if slot == "A":
        assert (done.status, done.last["code"]) == (78, "slot.no-fallback")
        assert device.everything() == before
    else:
        assert device.boot_state().slot("B").state is SlotState.BAD


def test_rollback_boots_the_old_slot_and_keeps_the_new_release_away(device: Device) -> None:
    device.must("update")
    device.boot()
    device.must("mark-good", running="B")
    device.must("rollback", running="B")
    assert device.boot() == "A"
    refused = device.run("update", "--json")
    assert refused.last["code"] == "release.given-up"
    assert device.must("status", "--json").last["highest_sequence"] == 2


def test_rollback_needs_a_proved_slot(device: Device) -> None:
    done = device.run("rollback", "--json")
    assert (done.status, done.last["code"]) == (78, "slot.no-fallback")


def test_an_unproved_system_does_not_touch_its_fallback(
    device: Device, published: Published
) -> None:
    device.must("update")
    assert device.boot() == "B"
    before = device.everything()
    refused = device.run("install", published.releases[3], "--json", running="B")
    assert (refused.status, refused.last["code"]) == (75, "agent.not-proved")
    assert device.everything() == before

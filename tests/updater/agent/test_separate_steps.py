# SPDX-License-Identifier: Apache-2.0
"""fetch, apply, activate: the same update in steps, the later ones without a network."""

from __future__ import annotations

import shutil

import pytest

from tests.updater.agent.conftest import MakeDevice, Published
from tests.updater.device import OFFSETS, Device, Site
from updater.device_options import EX_NOTHING

CACHE = '[stores]\ncache = "cache"\n'


@pytest.fixture
def cached(new_device: MakeDevice) -> Device:
    return new_device(CACHE)


def test_each_step_does_its_part(cached: Device, own_channel: Site, published: Published) -> None:
    before = cached.everything()
    fetched = cached.must("fetch", own_channel.folder, "--json").last
    assert fetched["chunks"] > 0
    assert cached.everything() == before
    shutil.rmtree(own_channel.folder)
    boot = cached.boot_state()
    cached.must("apply")
    assert cached.holds("B", published.images[2])
    assert cached.boot_state().next == boot.next == "A"
    cached.must("activate")
    assert cached.boot_state().next == "B"


def test_each_step_is_harmless_to_repeat(cached: Device) -> None:
    cached.must("fetch")
    assert cached.must("fetch", "--json").last["chunks"] == 0
    cached.must("apply")
    disk = cached.disk.read_bytes()
    written = cached.must("apply", "--json").last["images"][0]["bytes_written"]
    assert (written, cached.disk.read_bytes()) == (0, disk)
    cached.must("activate")
    before = cached.everything()
    assert cached.run("activate").status == EX_NOTHING
    assert cached.run("apply").status == EX_NOTHING
    assert cached.everything() == before


def test_what_was_not_fetched_cannot_be_applied(cached: Device) -> None:
    done = cached.run("apply", "--json")
    assert (done.status, done.last["code"]) == (75, "agent.not-staged")


def test_what_was_not_applied_cannot_be_activated(cached: Device) -> None:
    cached.must("fetch")
    before = cached.everything()
    done = cached.run("activate", "--json")
    assert (done.status, done.last["code"]) == (75, "agent.not-staged")
    assert cached.everything() == before


def test_a_slot_that_changed_since_is_not_activated(cached: Device) -> None:
    cached.must("fetch")
    cached.must("apply")
    with cached.disk.open("r+b") as disk:
        disk.seek(OFFSETS["B"] + 2_000_000)
        disk.write(b"rot")
    before = cached.everything()
    done = cached.run("activate", "--json")
    assert (done.status, done.last["code"]) == (65, "image.verify-failed")
    assert cached.everything() == before


def test_what_was_kept_is_proved_again(cached: Device) -> None:
    cached.must("fetch")
    for path in (cached.folder / "state/staged").iterdir():
        data = path.read_bytes()
        if b"caflip-release-1" in data:
            path.write_bytes(data.replace(b'"2.0"', b'"9.0"'))
    before = cached.everything()
    done = cached.run("apply", "--json")
    assert (done.status, done.last["code"]) == (65, "release.tampered")
    assert cached.everything() == before


def test_fetching_needs_a_cache(device: Device) -> None:
    done = device.run("fetch", "--json")
    assert (done.status, done.last["code"]) == (78, "config.invalid")

# SPDX-License-Identifier: Apache-2.0
"""One update: what is written, in which order, and that again means nothing."""

from __future__ import annotations

from pathlib import Path

from boot.bootloader import SlotState
from tests.updater.agent.conftest import Published
from tests.updater.device import OFFSETS, Device
from updater.device_options import EX_NOTHING


def test_the_other_slot_holds_the_release_and_boots_next(
    device: Device, published: Published
) -> None:
    before = device.slot("A")
    device.must("update")
    assert device.holds("B", published.images[2])
    assert device.slot("A") == before
    state = device.boot_state()
    assert (state.primary, state.next) == ("B", "B")
    assert (state.slot("B").state, state.slot("B").tries_left) == (SlotState.TRYING, 3)
    assert state.slot("A").state is SlotState.GOOD


def test_steps_come_in_the_order_that_makes_cuts_harmless(device: Device) -> None:
    events = device.must("update", "--json").lines
    steps = [event["step"] for event in events if event["event"] == "step"]
    assert steps == [
        *("fetch release", "verify release", "fetch indexes"),
        *("write slot", "mark target bad", "record", "activate"),
    ]
    names = [e.get("step") or e.get("phase") for e in events if e["event"] in ("step", "progress")]
    # The first byte is written after the slot was marked bad, the flip comes after the read-back.
    assert names.index("mark target bad") < names.index("assemble")
    assert max(i for i, n in enumerate(names) if n == "verify") < names.index("activate")


def test_seeds_are_used_and_told_of(device: Device, published: Published) -> None:
    report = device.must("update", "--json").last
    (image,) = report["images"]
    sources = {name: share["bytes"] for name, share in image["sources"].items()}
    assert sum(sources.values()) == published.images[2].stat().st_size
    assert sources["seed"] > sources["store"] > 0
    assert image["bytes_fetched"] < published.images[2].stat().st_size // 4


def test_again_before_the_reboot_writes_nothing(device: Device) -> None:
    device.must("update")
    before = device.everything()
    again = device.run("update", "--json")
    assert (again.status, again.last["outcome"]) == (EX_NOTHING, "awaiting reboot")
    assert device.everything() == before


def test_again_after_the_proof_writes_nothing(device: Device) -> None:
    device.must("update")
    assert device.boot() == "B"
    device.must("health", running="B")
    before = device.everything()
    again = device.run("update", "--json", running="B")
    assert (again.status, again.last["outcome"]) == (EX_NOTHING, "nothing to do")
    assert device.everything() == before


def test_a_dry_run_writes_nothing_and_tells_what_the_update_then_does(
    device: Device,
) -> None:
    before = device.everything()
    state_before = sorted((device.folder / "state").iterdir())
    planned = device.must("update", "--dry-run", "--json").last["images"]["rootfs"]["sources"]
    assert device.everything() == before
    assert sorted((device.folder / "state").iterdir()) == state_before
    done = device.must("update", "--json").last["images"][0]["sources"]
    assert planned == done


def test_plan_is_the_dry_run(device: Device) -> None:
    assert (
        device.must("plan", "--json").last["images"]
        == (device.must("update", "--dry-run", "--json").last["images"])
    )


def test_a_third_update_goes_back_to_the_first_slot(device: Device, published: Published) -> None:
    device.must("update")
    assert device.boot() == "B"
    device.must("health", running="B")
    device.must("update", published.releases[3], running="B")
    assert device.holds("A", published.images[3])
    assert device.boot() == "A"
    device.must("health", running="A")
    assert device.boot_state().slot("A").state is SlotState.GOOD


def test_bit_rot_in_the_seed_costs_a_fetch_and_nothing_else(
    device: Device, published: Published
) -> None:
    with device.disk.open("r+b") as disk:
        for place in range(OFFSETS["A"] + 500_000, OFFSETS["A"] + 4_000_000, 250_000):
            disk.seek(place)
            disk.write(b"rot")
    device.must("update")
    assert device.holds("B", published.images[2])


def test_install_takes_an_index_that_is_signed_by_itself(
    device: Device, published: Published, tmp_path: Path
) -> None:
    index = tmp_path / "bare" / "image.caibx"
    index.parent.mkdir()
    made = device.caflip("make", index, published.images[3])
    assert made.status == 0, made.err
    unsigned = device.run("install", index, "--json")
    assert (unsigned.status, unsigned.last["code"]) == (65, "release.unsigned")
    _sign(published, index)
    done = device.must("install", index, "--json")
    assert device.holds("B", published.images[3])
    assert done.last["sequence"] is None
    assert len(done.last["caveats"]) == 3


def _sign(published: Published, path: Path) -> None:
    import subprocess

    subprocess.run(
        [
            *("gpg", "--batch", "--homedir", published.site.home, "--detach-sign", "--armor"),
            *("--local-user", published.site.fingerprint, path),
        ],
        check=True,
        capture_output=True,
        timeout=60,
    )

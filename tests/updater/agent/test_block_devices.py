# SPDX-License-Identifier: Apache-2.0
"""Slots on block devices of the kernel: loop devices, one of them mounted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.capabilities import require_loop_devices
from tests.loops import loop_device, mounted
from tests.updater.agent.conftest import Published
from tests.updater.device import SLOT_LENGTH, Device, make_device
from tests.updater.running import Caflip

pytestmark = pytest.mark.root


@pytest.fixture
def device(tmp_path: Path, published: Published, caflip: Caflip) -> Iterator[Device]:
    """Slot A is a loop device with release 1, slot B one with random bytes."""
    require_loop_devices()
    with ExitStack() as closing:
        loops = {}
        for name in ("A", "B"):
            image = tmp_path / name
            image.write_bytes(published.images[1].read_bytes() if name == "A" else b"")
            with image.open("r+b") as file:
                file.truncate(SLOT_LENGTH)
            loops[name] = str(closing.enter_context(loop_device(image)))
        made = make_device(tmp_path / "device", published.site, caflip, slots=loops)
        made.must("install", published.releases[1], "--slot=A", "--provision", running="none")
        yield made


def _content(device: Device, name: str) -> bytes:
    status = device.must("status", "--json").last
    (slot,) = (slot for slot in status["slots"] if slot["boot"] == name)
    return Path(slot["devices"]["rootfs"]["device"]).read_bytes()


def test_an_update_from_device_to_device(device: Device, published: Published) -> None:
    report = device.must("update", "--json").last
    image = published.images[2].read_bytes()
    assert _content(device, "B")[: len(image)] == image
    sources = report["images"][0]["sources"]
    # The running partition is used as far as its superblock says, and no further.
    assert sources["seed"]["bytes"] > sources["store"]["bytes"]


@pytest.mark.parametrize("read_only", [False, True])
def test_a_slot_that_is_mounted_is_not_written(
    device: Device, published: Published, tmp_path: Path, read_only: bool
) -> None:
    device.must("update")
    status = device.must("status", "--json").last
    node = status["slots"][1]["devices"]["rootfs"]["device"]
    before = _content(device, "B")
    with mounted(Path(node), tmp_path / "mounted", *(["ro"] if read_only else [])):
        boot = device.boot_state()
        refused = device.run("install", published.releases[3], "--json")
        assert (refused.status, refused.last["code"]) == (78, "slot.active")
        assert str(tmp_path / "mounted") in refused.last["message"]
        assert device.boot_state() == boot
    if read_only:
        assert _content(device, "B") == before
    device.must("install", published.releases[3])

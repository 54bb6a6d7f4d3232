# SPDX-License-Identifier: Apache-2.0
"""One device for the session, put back before each test."""

from __future__ import annotations

import pytest

from tests.updater.agent.conftest import Published
from tests.updater.agent.conftest import published as published
from tests.updater.device import Device, make_device
from tests.updater.faults.machine import build_library
from tests.updater.faults.rig import Rig
from tests.updater.running import Caflip, run_process


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory, published: Published) -> Rig:
    """Slot B holds release 1, slot A release 2, both are good, and A boots."""
    folder = tmp_path_factory.mktemp("faults")
    device = make_device(folder / "device", published.site, run_process)
    for number, slot in ((1, "B"), (2, "A")):
        device.must(
            *("install", published.releases[number], f"--slot={slot}", "--provision"),
            running="none",
        )
    assert device.boot_state().next == "A"
    rig = Rig(device, published, build_library(folder), {})
    rig.begin.update({path: path.read_bytes() for path in rig.files()})
    return rig


@pytest.fixture
def rig(made: Rig, caflip: Caflip) -> Rig:
    """The device before its update; a run that has no fault is one in this process."""
    device = Device(made.device.folder, made.device.site, caflip)
    rig = Rig(device, made.published, made.library, dict(made.begin))
    rig.restore()
    return rig

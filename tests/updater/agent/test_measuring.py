# SPDX-License-Identifier: Apache-2.0
"""The file of metrics after updates and health checks, well and not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.updater.agent.conftest import MakeDevice, Published
from tests.updater.device import Device
from tests.updater.exposition import Read, parse
from updater import __version__

METRICS = '[metrics]\nfile = "caflip.prom"\n'


@pytest.fixture
def device(new_device: MakeDevice) -> Device:
    return new_device(METRICS)


def read(device: Device) -> list[Read]:
    return parse((device.folder / "caflip.prom").read_text())


def value(device: Device, name: str, **labels: str) -> float:
    """Return the one sample that has these labels and perhaps more."""
    (found,) = [
        one
        for one in read(device)
        if one.name == name and labels.items() <= {k.strip("_"): v for k, v in one.labels}.items()
    ]
    return found.value


def names(device: Device) -> set[str]:
    return {one.name for one in read(device)}


def test_after_an_update_the_bytes_add_up_and_the_states_are_told(device: Device) -> None:
    report = device.must("update", "--json").last["images"][0]
    sources = {
        dict(one.labels)["source"]: one.value
        for one in read(device)
        if one.name == "caflip_image_source_bytes" and dict(one.labels)["slot"] == "B"
    }
    assert sources == {name: share["bytes"] for name, share in report["sources"].items()}
    assert sum(sources.values()) == value(device, "caflip_image_bytes", slot="B")
    for what in ("written", "skipped", "fetched"):
        told = value(device, f"caflip_image_{what}_bytes", slot="B")
        assert told == report[f"bytes_{what}"]
    assert value(device, "caflip_slot_boot_state", slot="B", state="trying") == 1
    assert value(device, "caflip_slot_boot_state", slot="B", state="good") == 0
    assert value(device, "caflip_slot_content", slot="B", state="active") == 1
    assert value(device, "caflip_slot_tries_left", slot="B") == 3
    assert value(device, "caflip_slot_running", slot="A") == 1
    assert value(device, "caflip_slot_next", slot="B") == 1
    assert value(device, "caflip_slot_sequence", slot="B") == 2
    assert value(device, "caflip_slot_release", slot="B", release="2.0") == 1
    assert value(device, "caflip_highest_sequence") == 1
    assert value(device, "caflip_last_exit_status", verb="update") == 0
    assert value(device, "caflip_last_run_seconds", verb="update") > 0
    assert value(device, "caflip_slot_write_seconds", slot="B") >= 0
    phases = {
        dict(one.labels)["phase"]: one.value
        for one in read(device)
        if one.name == "caflip_update_phase_seconds"
    }
    assert phases == pytest.approx(report["seconds"])
    assert value(device, "caflip_info", compatible="test-device", version=__version__) == 1


def test_the_health_check_tells_of_the_proof_and_keeps_what_the_update_told(
    device: Device,
) -> None:
    device.must("update")
    before = {name: value(device, name, verb="update") for name in RUNS}
    device.boot()
    device.must("health", running="B")
    assert {name: value(device, name, verb="update") for name in RUNS} == before
    assert value(device, "caflip_last_exit_status", verb="health") == 0
    assert value(device, "caflip_highest_sequence") == 2
    assert value(device, "caflip_slot_boot_state", slot="B", state="good") == 1
    assert value(device, "caflip_slot_proofs_total", slot="B") == 1
    assert value(device, "caflip_slot_proved_timestamp_seconds", slot="B") > 1.7e9
    assert "caflip_update_phase_seconds" in names(device)


RUNS = (
    "caflip_last_success_timestamp_seconds",
    "caflip_last_exit_status",
    "caflip_last_run_seconds",
)


def test_nothing_to_do_is_a_success(device: Device) -> None:
    assert device.run("update").status == 0
    assert device.run("update").status == 3
    assert value(device, "caflip_last_exit_status", verb="update") == 3
    assert "caflip_last_failure_timestamp_seconds" not in names(device)


def test_a_failure_has_its_time_and_the_last_success_keeps_its_own(
    device: Device, published: Published
) -> None:
    device.must("update")
    success = value(device, RUNS[0], verb="update")
    refused = device.run("update", device.folder / "nothing", "--json")
    assert refused.status == 78
    assert value(device, RUNS[0], verb="update") == success
    assert value(device, "caflip_last_failure_timestamp_seconds", verb="update") >= success
    assert value(device, "caflip_last_exit_status", verb="update") == 78
    assert device.run("update").status == 3
    assert value(device, "caflip_last_failure_timestamp_seconds", verb="update") >= success
    assert value(device, "caflip_last_exit_status", verb="update") == 3


def test_an_unhealthy_slot_is_told(new_device: MakeDevice) -> None:
    device = new_device('[health]\ncommands = [["/bin/false"]]\nattempts = 1', METRICS)
    device.must("update")
    device.boot()
    assert device.run("health", running="B").status == 65
    assert value(device, "caflip_last_exit_status", verb="health") == 65
    assert value(device, "caflip_slot_boot_state", slot="B", state="bad") == 1
    assert value(device, "caflip_slot_content", slot="B", state="bad") == 1
    assert value(device, "caflip_failed_releases") == 1
    assert value(device, "caflip_given_up_releases") == 0


def test_metrics_that_cannot_be_written_stop_nothing(new_device: MakeDevice) -> None:
    device = new_device('[metrics]\nfile = "none/caflip.prom"')
    done = device.must("update", "--json")
    notices = [line for line in done.lines if line["event"] == "notice"]
    assert any("metrics cannot be written" in line["message"] for line in notices)
    assert device.boot_state().next == "B"


def test_a_file_that_was_damaged_is_written_anew(device: Device) -> None:
    (device.folder / "caflip.prom").write_bytes(b'caflip_last_exit_status{verb="\xff\n\0{{')
    device.must("update")
    assert value(device, "caflip_last_exit_status", verb="update") == 0


def test_without_a_file_configured_and_in_a_dry_run_nothing_is_written(
    new_device: MakeDevice,
) -> None:
    device = new_device(METRICS)
    device.must("update", "--dry-run")
    assert not (device.folder / "caflip.prom").exists()
    device.config.write_text(device.config.read_text().replace(METRICS.strip(), ""))
    device.must("update")
    assert not list(Path(device.folder).glob("*.prom"))
    assert json.loads(device.must("status", "--json").out)["event"] == "result"

# SPDX-License-Identifier: Apache-2.0
"""packaging/systemd, as systemd itself reads it."""

from __future__ import annotations

import configparser
import os
import subprocess
from pathlib import Path

import pytest

from tests.capabilities import require_tool
from updater.agent.checks.programs import HEALTH_UNIT
from updater.device_options import EX_NOTHING

FOLDER = Path(__file__).parent.parent.parent / "packaging/systemd"
SERVICES = ("caflip-update.service", "caflip-health.service")
NAMES = (*SERVICES, "caflip-update.timer", "caflip-peer.service")
PROGRAM = "/usr/bin/caflip"
CHECK = "systemd-boot-check-no-failures.service"


def units(folder: Path) -> Path:
    """Copy the units, enabled as they ask to be, with a program that is there."""
    folder.mkdir()
    program = folder / "caflip"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    for name in NAMES:
        text = (FOLDER / name).read_text()
        (folder / name).write_text(text.replace(PROGRAM, str(program)))
        wanted_by = section(name, "Install").get("WantedBy")
        if wanted_by is not None:
            wants = folder / f"{wanted_by}.wants"
            wants.mkdir(exist_ok=True)
            (wants / name).symlink_to(folder / name)
    return folder


def section(name: str, title: str) -> dict[str, str]:
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment]
    parser.read_string((FOLDER / name).read_text())
    return dict(parser[title]) if parser.has_section(title) else {}


def complaints(folder: Path, *names: str) -> str:
    """Return what systemd says of a set of units, loaded and started as one transaction."""
    require_tool("systemd-analyze")
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", "--recursive-errors=yes", *names],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | {"SYSTEMD_UNIT_PATH": f"{folder}:"},
    )
    return "\n".join(
        line
        for line in done.stderr.splitlines()
        if "caflip" in line or "cycle" in line.lower() or "boot-complete" in line
    )


@pytest.mark.parametrize("name", NAMES)
def test_systemd_has_nothing_to_complain_of(tmp_path: Path, name: str) -> None:
    assert complaints(units(tmp_path / "units"), name) == ""


def test_systemd_complains_of_what_is_wrong(tmp_path: Path) -> None:
    folder = units(tmp_path / "units")
    path = folder / "caflip-update.service"
    path.write_text(path.read_text().replace("ProtectHome=", "ProtectHoem="))
    assert "ProtectHoem" in complaints(folder, path.name)


def with_a_check_after_everything(folder: Path) -> None:
    """Let boot-complete.target wait for multi-user.target, as systemd's own check does."""
    (folder / CHECK).write_text(
        "[Unit]\nAfter=default.target graphical.target multi-user.target\n"
        "Before=boot-complete.target\n[Service]\nType=oneshot\nExecStart=/bin/true\n"
    )
    requires = folder / "boot-complete.target.requires"
    requires.mkdir()
    (requires / CHECK).symlink_to(folder / CHECK)


def test_the_health_check_does_not_keep_the_boot_from_being_complete(tmp_path: Path) -> None:
    folder = units(tmp_path / "units")
    with_a_check_after_everything(folder)
    assert complaints(folder, "multi-user.target", HEALTH_UNIT) == ""
    path = folder / HEALTH_UNIT
    path.write_text(path.read_text().replace("DefaultDependencies=no\n", ""))
    assert "cycle" in complaints(folder, "multi-user.target", HEALTH_UNIT).lower()


@pytest.mark.parametrize("name", SERVICES)
def test_nothing_to_do_is_no_failure(name: str) -> None:
    assert section(name, "Service")["SuccessExitStatus"] == str(EX_NOTHING)


@pytest.mark.parametrize("name", SERVICES)
def test_block_devices_firmware_and_boot_folders_stay_writable(name: str) -> None:
    service = section(name, "Service")
    closing = {"PrivateDevices", "DevicePolicy", "DeviceAllow", "ProtectClock"}
    closing |= {"ProtectKernelTunables", "CapabilityBoundingSet", "PrivateUsers", "User"}
    assert not closing & service.keys()
    assert not {"StateDirectory", "CacheDirectory"} & service.keys(), "/var may be read-only"
    if "ProtectSystem" in service:
        assert service["ProtectSystem"] != "strict", "the state may be anywhere"
        assert {"-/boot", "-/efi"} <= set(service["ReadWritePaths"].split())


@pytest.mark.parametrize("name", SERVICES)
def test_what_is_mounted_stays_to_be_seen(name: str) -> None:
    service = section(name, "Service")
    assert not {"InaccessiblePaths", "TemporaryFileSystem", "RootDirectory"} & service.keys()
    assert service.get("ProtectHome") in (None, "no", "read-only")


def test_a_fleet_asks_at_different_times() -> None:
    timer = section("caflip-update.timer", "Timer")
    assert timer["RandomizedDelaySec"] != "0"
    assert (timer["FixedRandomDelay"], timer["Persistent"]) == ("yes", "yes")

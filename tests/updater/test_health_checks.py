# SPDX-License-Identifier: Apache-2.0
"""Health checks against a systemctl that is none: a script that plays a unit's life, and time that
passes only where it is waited for.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from updater.config import HealthConfig
from updater.health import Health, check_health

PROGRAM = """\
#!{python}
# A FAKE systemctl: answers `show` from a list of states, one a call, the last one for ever.
import json, pathlib, sys
folder = pathlib.Path({folder!r})
assert sys.argv[1] == "show" and sys.argv[3] == "--", sys.argv
script = folder / (sys.argv[4] + ".json")
left = json.loads(script.read_text())
if len(left) > 1:
    script.write_text(json.dumps(left[1:]))
now = left[0]
if "print" in now:
    print(now["print"], file=sys.stderr)
    sys.exit(now["status"])
for key, value in now.items():
    print(f"{{key}}={{value}}")
"""


class Stopwatch:
    """Time that passes only where it is waited for."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now_s(self) -> float:
        return self.seconds

    def wait(self, seconds: float) -> None:
        self.seconds += seconds


@pytest.fixture
def units(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put the fake on the PATH; return the folder of its scripts."""
    folder = tmp_path / "units"
    folder.mkdir()
    program = tmp_path / "bin/systemctl"
    program.parent.mkdir()
    program.write_text(PROGRAM.format(python=sys.executable, folder=str(folder)))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return folder


def unit(state: str, runs: int = 1, **more: str) -> dict[str, str]:
    found = {"LoadState": "loaded", "ActiveState": state, "NRestarts": str(runs - 1)}
    return {**found, "InvocationID": f"{runs:032x}", **more}


def plays(units: Path, name: str, *states: dict[str, Any]) -> None:
    (units / f"{name}.json").write_text(json.dumps(states))


def config(
    services: Sequence[str] = (),
    *commands: Sequence[str],
    **more: Any,  # noqa: ANN401
) -> HealthConfig:
    values = {"window_s": 30.0, "settle_s": 10.0, "attempts": 3, **more}
    return HealthConfig(tuple(map(tuple, commands)), tuple(services), **values)


def details(health: Health) -> list[tuple[bool, str]]:
    return [(check.ok, check.detail) for check in health.checks]


def test_a_service_that_is_starting_is_waited_for(units: Path) -> None:
    plays(units, "a.service", unit("inactive"), unit("activating"), unit("active"))
    pace = Stopwatch()
    health = check_health(config(["a.service"]), pace=pace)
    assert details(health) == [(True, "active"), (True, "they did")]
    assert pace.seconds == 12, "two looks, and it settled"


def test_a_service_that_failed_is_not_waited_for(units: Path) -> None:
    plays(units, "a.service", unit("activating"), unit("failed"))
    pace = Stopwatch()
    assert details(check_health(config(["a.service"]), pace=pace)) == [(False, "failed")]
    assert pace.seconds < 30


@pytest.mark.parametrize("state", ["activating", "inactive", "deactivating"])
def test_a_service_that_never_starts_is_not_healthy_when_the_window_is_over(
    units: Path, state: str
) -> None:
    plays(units, "a.service", unit(state))
    pace = Stopwatch()
    ((ok, detail),) = details(check_health(config(["a.service"]), pace=pace))
    assert (ok, detail) == (False, f"{state} at the end of the window")
    assert pace.seconds == 30


def test_the_window_is_one_for_all_checks(units: Path) -> None:
    for name in ("a.service", "b.service"):
        plays(units, name, unit("activating"))
    pace = Stopwatch()
    health = check_health(config(["a.service", "b.service"], ["/bin/true"]), pace=pace)
    assert [check.ok for check in health.checks] == [False, False, False]
    assert pace.seconds == 30
    assert "window" in health.checks[2].detail


RESTARTS = {
    "by systemd": unit("active", 2),
    "by hand": unit("active", 1, InvocationID="f" * 32),
    "and is starting": unit("activating", 2),
    "for good": unit("failed", 2),
}


@pytest.mark.parametrize("then", RESTARTS.values(), ids=list(RESTARTS))
def test_a_service_that_does_not_stay_as_it_was_is_not_healthy(
    units: Path, then: dict[str, str]
) -> None:
    plays(units, "a.service", *[unit("active")] * 4, then, unit("active", 2))
    health = check_health(config(["a.service"]), pace=Stopwatch())
    assert not health.healthy
    assert health.checks[0].ok and "a.service" in health.checks[1].detail


def test_a_service_that_was_restarted_before_it_was_seen_is_healthy(units: Path) -> None:
    plays(units, "a.service", unit("active", 5))
    assert check_health(config(["a.service"]), pace=Stopwatch()).healthy


def test_the_boot_has_to_be_complete_if_that_is_asked_for(units: Path) -> None:
    plays(units, "boot-complete.target", {"LoadState": "loaded", "ActiveState": "inactive"})
    assert not check_health(config(boot_complete=True), pace=Stopwatch()).healthy
    plays(units, "boot-complete.target", {"LoadState": "loaded", "ActiveState": "active"})
    assert check_health(config(boot_complete=True), pace=Stopwatch()).healthy


def test_a_unit_that_is_not_installed_is_not_healthy(units: Path) -> None:
    plays(units, "a.service", unit("inactive", LoadState="not-found"))
    ((ok, detail), *_) = details(check_health(config(["a.service"]), pace=Stopwatch()))
    assert (ok, "not-found" in detail) == (False, True)


def test_a_systemd_that_does_not_answer_at_once_is_asked_again(units: Path) -> None:
    busy = {"print": "Failed to connect to bus: No such file or directory", "status": 1}
    plays(units, "a.service", busy, busy, unit("active"))
    assert check_health(config(["a.service"]), pace=Stopwatch()).healthy


NO_SYSTEMD = "System has not been booted with systemd as init system (PID 1). Can't operate."


def test_without_systemd_a_service_is_not_healthy(
    units: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plays(units, "a.service", {"print": NO_SYSTEMD, "status": 1})
    assert not check_health(config(["a.service"]), pace=Stopwatch()).healthy
    monkeypatch.setenv("PATH", str(tmp_path))
    assert not check_health(config(["a.service"]), pace=Stopwatch()).healthy
    (tmp_path / "systemctl").write_text("#!/bin/sh\nexit 0\n")
    (tmp_path / "systemctl").chmod(0o755)
    assert not check_health(config(["a.service"]), pace=Stopwatch()).healthy, "it says nothing"


def counting(path: Path, succeeds_at: int) -> str:
    """Return a program that succeeds when it is called for the so-and-so-many-th time."""
    count = path.with_suffix(".count")
    path.write_text(f"#!/bin/sh\necho x >> {count}\n[ $(wc -l < {count}) -ge {succeeds_at} ]\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(("succeeds_at", "healthy"), [(1, True), (3, True), (4, False)])
def test_a_command_has_so_many_attempts(tmp_path: Path, succeeds_at: int, healthy: bool) -> None:
    program = counting(tmp_path / "check", succeeds_at)
    assert check_health(config([], [program]), pace=Stopwatch()).healthy is healthy
    calls = (tmp_path / "check.count").read_text().count("x")
    assert calls == min(succeeds_at, 3)


def test_a_command_that_hangs_is_ended_and_told(tmp_path: Path) -> None:
    program = tmp_path / "check"
    program.write_text("#!/bin/sh\necho disk is slow\nsleep 600\n")
    program.chmod(0o755)
    hangs = config([], [str(program)], timeout_s=0.3, attempts=1)
    ((ok, detail),) = details(check_health(hangs, pace=Stopwatch()))
    assert not ok
    assert detail.startswith("took longer than") and detail.endswith("disk is slow")


def test_all_that_is_wrong_is_told_and_not_the_first_alone() -> None:
    health = check_health(
        config([], ["/bin/false"], ["/no/such"], ["/bin/true"], attempts=1), pace=Stopwatch()
    )
    assert [check.ok for check in health.checks] == [False, False, True]


def test_a_watchdog_is_fed_while_it_waits(units: Path) -> None:
    plays(units, "a.service", unit("activating"), unit("active"))
    fed: list[None] = []
    check_health(config(["a.service"]), pace=Stopwatch(), alive=lambda: fed.append(None))
    assert len(fed) >= 11


def test_without_any_check_a_slot_is_healthy() -> None:
    assert check_health(config(), pace=Stopwatch()) == Health(())

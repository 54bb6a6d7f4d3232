# SPDX-License-Identifier: Apache-2.0
"""Verdicts in a time of our own, with answers by the second; single units are in
`test_health_checks`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import pytest

from updater.config import HealthConfig
from updater.health import BOOT_COMPLETE, PAUSE_S, Health, check_health
from updater.processes import Finished

NOT_BOOTED = "System has not been booted with systemd as init system (PID 1). Can't operate.\n"
IN_CHROOT = "Running in chroot, ignoring command 'show'\n"
NO_BUS = "Failed to connect to bus: Connection refused\n"


def said(state: str, *, run: str = "a1", restarts: int = 0) -> str:
    """Return what systemctl 252 prints for the properties that are asked for."""
    return f"NRestarts={restarts}\nLoadState=loaded\nActiveState={state}\nInvocationID={run}\n"


def answer(output: str, status: int = 0) -> Finished:
    return Finished(status, output, 0.0, False)


ACTIVE = answer(said("active"))
STARTING = answer(said("activating"))
AWAY = answer(NO_BUS, 1)
FAILS = (0.0, answer("", 1))
WORKS = (0.0, answer(""))
HANGS = (1e6, answer(""))


@dataclass
class World:
    """Time that goes only when somebody waits.

    Attributes:
        units: by name: from which second on systemd answers what.
        commands: by name: seconds and answer of each attempt; the last one for all further ones.
    """

    units: Mapping[str, Sequence[tuple[float, Finished]]] = field(default_factory=dict)
    commands: Mapping[str, Sequence[tuple[float, Finished]]] = field(default_factory=dict)
    time_s: float = 0.0
    fed: list[float] = field(default_factory=list)
    began: list[str] = field(default_factory=list)
    limits: list[float] = field(default_factory=list)

    def now_s(self) -> float:
        return self.time_s

    def wait(self, seconds: float) -> None:
        assert 0 < seconds <= 1
        self.time_s += seconds

    def run(
        self, command: Sequence[str], *, timeout_s: float, alive: Callable[[], None]
    ) -> Finished:
        assert timeout_s > 0
        if command[0] == "systemctl":
            return [found for since, found in self.units[command[-1]] if since <= self.time_s][-1]
        answers = self.commands[command[0]]
        seconds, ended = answers[min(len(self.limits), len(answers) - 1)]
        self.limits.append(timeout_s)
        self.time_s += min(seconds, timeout_s)
        return ended if seconds <= timeout_s else Finished(-15, "", timeout_s, True)

    def check(self, config: HealthConfig) -> Health:
        return check_health(
            config,
            pace=self,
            run=self.run,
            alive=lambda: self.fed.append(self.time_s),
            begun=self.began.append,
        )


def service(*answers: tuple[float, Finished]) -> World:
    return World(units={"a.service": answers})


A_SERVICE = HealthConfig(services=("a.service",), window_s=30, settle_s=10, attempts=3)


def test_a_command_that_succeeds_is_run_once_and_does_not_wait() -> None:
    world = World(commands={"/a": [WORKS]})
    assert world.check(HealthConfig(commands=(("/a",),))).healthy
    assert (len(world.limits), world.time_s) == (1, 0)


def test_between_attempts_of_a_command_there_is_a_pause_and_none_after_the_last() -> None:
    world = World(commands={"/a": [FAILS]})
    assert not world.check(HealthConfig(commands=(("/a",),), attempts=3)).healthy
    assert world.time_s == 2 * PAUSE_S


def test_each_attempt_has_a_time_limit_and_all_have_the_window() -> None:
    world = World(commands={"/a": [HANGS]})
    config = HealthConfig(commands=(("/a",),), timeout_s=30, window_s=50, attempts=100)
    assert not world.check(config).healthy
    assert world.limits == [30, 50 - 30 - PAUSE_S]
    assert world.time_s == 50


@pytest.mark.parametrize("state", ["reloading", "refreshing"])
def test_a_service_that_reloads_is_active(state: str) -> None:
    assert service((0, ACTIVE), (3, answer(said(state)))).check(A_SERVICE).healthy


def test_a_service_that_failed_and_is_started_again_at_once_is_well() -> None:
    world = service((0, answer(said("failed", run=""))), (1, STARTING), (2, ACTIVE))
    assert world.check(A_SERVICE).healthy


def test_a_service_that_stays_failed_does_not_use_up_the_window() -> None:
    world = service((0, answer(said("failed", run=""))))
    assert not world.check(A_SERVICE).healthy
    assert world.time_s == 2


@pytest.mark.parametrize("since_s", [1, 9.5, 10])
@pytest.mark.parametrize("now", [{"run": "b2"}, {"restarts": 1}])
def test_a_restart_is_seen_until_the_very_end(since_s: float, now: dict[str, str]) -> None:
    world = service((0, ACTIVE), (since_s, answer(said("active", **now))))  # type: ignore[arg-type]
    health = world.check(A_SERVICE)
    assert (health.healthy, health.checks[-1].detail) == (False, "a.service was restarted")


def test_a_restart_while_commands_run_is_seen() -> None:
    world = World(
        units={"a.service": [(0, ACTIVE), (5, answer(said("active", run="b2")))]},
        commands={"/a": [(20.0, answer(""))]},
    )
    health = world.check(HealthConfig(services=("a.service",), commands=(("/a",),)))
    assert (health.healthy, health.checks[-1].detail) == (False, "a.service was restarted")


@pytest.mark.parametrize(
    "found",
    [
        answer(NOT_BOOTED, 1),
        Finished(127, "systemctl: none", 0.0, False, 0, "cannot be started: none"),
        Finished(126, "systemctl: denied", 0.0, False, 0, "cannot be started: denied"),
    ],
)
@pytest.mark.parametrize("unit", ["a.service", BOOT_COMPLETE])
def test_without_systemd_what_needs_it_fails_at_once_and_says_so(
    found: Finished, unit: str
) -> None:
    world = World(units={unit: [(0, found)]})
    services = () if unit == BOOT_COMPLETE else (unit,)
    (check,) = world.check(HealthConfig((), services, unit == BOOT_COMPLETE)).checks
    assert (check.ok, check.seconds) == (False, 0)
    assert check.detail.startswith("systemd cannot be asked: ")


@pytest.mark.parametrize(
    "found",
    [AWAY, answer(IN_CHROOT), answer(""), answer("active\n"), Finished(-15, "", 10.0, True)],
)
def test_no_answer_is_never_taken_for_health(found: Finished) -> None:
    for world in (service((0, found)), service((0, ACTIVE), (4, found))):
        health = world.check(A_SERVICE)
        assert not health.healthy
        assert "systemd cannot be asked" in health.checks[-1].detail


def test_systemd_may_be_away_for_a_moment_while_services_settle() -> None:
    assert service((0, ACTIVE), (4, AWAY), (6, ACTIVE)).check(A_SERVICE).healthy


def test_nothing_settles_where_something_failed() -> None:
    world = World(units={"a.service": [(0, ACTIVE)]}, commands={"/a": [FAILS]})
    config = HealthConfig(services=("a.service",), commands=(("/a",),), attempts=1)
    assert [check.name for check in world.check(config).checks] == ["a.service", "/a"]
    assert world.time_s == 0


@pytest.mark.parametrize("window_s", [0.5, 10, 33.3])
@pytest.mark.parametrize("settle_s", [0.5, 7])
@pytest.mark.parametrize("command", [FAILS, HANGS, WORKS])
def test_the_verdict_comes_in_time_whatever_happens(
    window_s: float, settle_s: float, command: tuple[float, Finished]
) -> None:
    for steps in ([(0, STARTING)], [(0, STARTING), (window_s * 0.8, ACTIVE)], [(0, AWAY)]):
        world = World(
            units={"a.service": steps, BOOT_COMPLETE: [(0, ACTIVE)]}, commands={"/a": [command]}
        )
        config = HealthConfig(
            commands=(("/a",), ("/a", "b")),
            services=("a.service",),
            boot_complete=True,
            window_s=window_s,
            settle_s=settle_s,
            attempts=100,
        )
        world.check(config)
        assert world.time_s <= window_s + settle_s + 1


def test_the_watchdog_is_fed_at_least_every_second_of_waiting() -> None:
    world = World(
        units={"a.service": [(0, STARTING), (20, ACTIVE)]}, commands={"/a": [FAILS, WORKS]}
    )
    assert world.check(HealthConfig(services=("a.service",), commands=(("/a",),))).healthy
    assert max(b - a for a, b in pairwise([0.0, *world.fed, world.time_s])) <= 1


def test_it_is_told_what_is_waited_for() -> None:
    world = World(
        units={"a.service": [(0, ACTIVE)], BOOT_COMPLETE: [(0, ACTIVE)]}, commands={"/a": [WORKS]}
    )
    world.check(HealthConfig((("/a",),), ("a.service",), boot_complete=True, settle_s=2))
    assert world.began == [BOOT_COMPLETE, "a.service", "/a", "services stay active for 2 s"]


def test_the_system_s_time_passes() -> None:
    config = HealthConfig(commands=(("/bin/sleep", "600"),), window_s=0.3, attempts=3)
    (check,) = check_health(config).checks
    assert not check.ok
    assert check.seconds >= 0.3

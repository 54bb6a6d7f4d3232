# SPDX-License-Identifier: Apache-2.0
"""Is the system that was just installed any good? Commands, services, systemd's own opinion.

Everything has to come true within one window. Commands are tried `attempts` times; services have
to be active and to stay so, without a restart, for `settle_s`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from updater.config import HealthConfig
from updater.processes import Finished, run

POLL_S = 1.0
"""systemd has no cheap way to wait for several units; it is asked again."""

SYSTEMCTL_S = 10.0


class Pace(Protocol):
    """Time, so that tests do not have to wait for it."""

    def now_s(self) -> float:
        """Return a time that only goes forward."""

    def wait(self, seconds: float) -> None:
        """Return after so many seconds."""


class SystemPace:
    """CLOCK_MONOTONIC."""

    def now_s(self) -> float:
        """See `Pace`."""
        return time.monotonic()

    def wait(self, seconds: float) -> None:
        """See `Pace`; a signal handler that raises ends it."""
        threading.Event().wait(seconds)


Run = Callable[..., Finished]


@dataclass(frozen=True, slots=True)
class Check:
    """One check.

    Attributes:
        name: the command, or the unit.
        detail: what was found, in words.
        seconds: until that was known.
    """

    name: str
    ok: bool
    detail: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Health:
    """All of them."""

    checks: tuple[Check, ...]

    @property
    def healthy(self) -> bool:
        """Whether all are well; also where there is nothing to check."""
        return all(check.ok for check in self.checks)


def check_health(
    config: HealthConfig,
    *,
    pace: Pace | None = None,
    run: Run = run,
    alive: Callable[[], None] = lambda: None,
) -> Health:
    """Run all checks.

    Args:
        config: what is checked.
        pace: None for the system's time.
        run: how programs are run.
        alive: called while waiting; feeds a watchdog.
    """
    checking = _Checking(config, pace or SystemPace(), run, alive)
    checks = []
    if config.boot_complete:
        checks.append(checking.until_active("boot-complete.target"))
    checks += [checking.until_active(unit) for unit in config.services]
    checks += [checking.command(command) for command in config.commands]
    if config.services and all(check.ok for check in checks):
        checks.append(checking.stays())
    return Health(tuple(checks))


class _Checking:
    def __init__(
        self, config: HealthConfig, pace: Pace, run: Run, alive: Callable[[], None]
    ) -> None:
        self._config = config
        self._pace = pace
        self._run = run
        self._alive = alive
        self._deadline_s = pace.now_s() + config.window_s

    def until_active(self, unit: str) -> Check:
        """Wait until a unit is active, has failed, or the window is over."""
        started_s = self._pace.now_s()
        while True:
            state = self._state_of(unit)
            over = self._pace.now_s() >= self._deadline_s
            if state == "active":
                return Check(unit, True, state, self._pace.now_s() - started_s)
            if state == "failed" or over:
                detail = f"{state} at the end of the window" if state != "failed" else state
                return Check(unit, False, detail, self._pace.now_s() - started_s)
            self._wait()

    def command(self, command: tuple[str, ...]) -> Check:
        """Run a command until it succeeds, its attempts are used up, or the window is over."""
        started_s = self._pace.now_s()
        name = " ".join(command)
        for attempt in range(1, self._config.attempts + 1):
            left_s = max(0.0, self._deadline_s - self._pace.now_s())
            ended = self._run(command, timeout_s=min(self._config.timeout_s, left_s))
            if ended.ok:
                return Check(name, True, "status 0", self._pace.now_s() - started_s)
            if self._pace.now_s() >= self._deadline_s or attempt == self._config.attempts:
                break
            self._wait()
        return Check(name, False, ended.reason, self._pace.now_s() - started_s)

    def stays(self) -> Check:
        """See that services stay active, and are not restarted, for a while."""
        started_s = self._pace.now_s()
        before = {unit: self._restarts_of(unit) for unit in self._config.services}
        name = f"services stay active for {self._config.settle_s:g} s"
        while True:
            for unit, restarts in before.items():
                state, now = self._state_of(unit), self._restarts_of(unit)
                if state != "active" or now != restarts:
                    detail = f"{unit} is {state}" if state != "active" else f"{unit} was restarted"
                    return Check(name, False, detail, self._pace.now_s() - started_s)
            if self._pace.now_s() - started_s >= self._config.settle_s:
                return Check(name, True, "they did", self._pace.now_s() - started_s)
            self._wait()

    def _state_of(self, unit: str) -> str:
        """Return the word of systemctl(1), `is-active`; or why there is none."""
        ended = self._run(("systemctl", "is-active", "--", unit), timeout_s=SYSTEMCTL_S)
        return ended.output.strip() or ended.reason

    def _restarts_of(self, unit: str) -> str:
        command = ("systemctl", "show", "--property=NRestarts,InvocationID", "--", unit)
        return str(self._run(command, timeout_s=SYSTEMCTL_S).output)

    def _wait(self) -> None:
        self._alive()
        self._pace.wait(POLL_S)

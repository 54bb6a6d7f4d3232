# SPDX-License-Identifier: Apache-2.0
"""Is the system that was just installed any good? Commands, services, systemd's own opinion.

Everything has to come true within one window. What fails is looked at again, `attempts` times in
all; services have to be active and to stay so, without a restart, from when they first were until
`settle_s` after the last check. systemd is asked through systemctl(1); where there is none, a check
that needs it has failed.

What becomes of the verdict: `agent/proving.py`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from updater.config import HealthConfig
from updater.processes import NOT_EXECUTABLE, NOT_FOUND, Finished, run

BOOT_COMPLETE = "boot-complete.target"

POLL_S = 1.0
"""systemd has no cheap way to wait for several units; it is asked again."""

PAUSE_S = 5.0
"""Between attempts of a command: what it needs may still be starting."""

SYSTEMCTL_S = 10.0

_ACTIVE = frozenset({"active", "reloading", "refreshing"})  # as is-active counts them

_NO_SYSTEMD = "has not been booted with systemd"  # systemctl's words


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


def _silence() -> None:
    """Be told that we wait, and do nothing about it."""


def check_health(
    config: HealthConfig,
    *,
    pace: Pace | None = None,
    run: Run = run,
    alive: Callable[[], None] = _silence,
    begun: Callable[[str], None] = lambda name: None,
) -> Health:
    """Run all checks.

    The last answer comes at most `window_s + settle_s` after the call, and the few seconds that
    the end of a program may take.

    Args:
        config: what is checked.
        pace: None for the system's time.
        run: how programs are run.
        alive: called while waiting; feeds a watchdog.
        begun: called with the name of each check when it begins.
    """
    checking = _Checking(config, pace or SystemPace(), run, alive, begun)
    checks = []
    if config.boot_complete:
        checks.append(checking.until_active(BOOT_COMPLETE))
    checks += [checking.until_active(unit) for unit in config.services]
    checks += [checking.command(command) for command in config.commands]
    if config.services and all(check.ok for check in checks):
        checks.append(checking.stays())
    return Health(tuple(checks))


@dataclass(frozen=True, slots=True)
class _Unit:
    """What systemd says of a unit.

    Attributes:
        state: `active`, `failed`, ...; as `systemctl is-active` says. Where systemd says nothing,
            why not.
        runs: changes with every start.
        known: systemd said something.
        final: it is not there, and will not be.
    """

    state: str
    runs: tuple[str, str] = ("", "")
    known: bool = True
    final: bool = False


class _Checking:
    def __init__(
        self,
        config: HealthConfig,
        pace: Pace,
        run: Run,
        alive: Callable[[], None],
        begun: Callable[[str], None],
    ) -> None:
        self._config = config
        self._pace = pace
        self._run = run
        self._alive = alive
        self._begun = begun
        self._deadline_s = pace.now_s() + config.window_s
        self._runs: dict[str, tuple[str, str]] = {}

    def until_active(self, unit: str) -> Check:
        """Wait until a unit is active, has failed for good, or the window is over."""
        self._begun(unit)
        started_s = self._pace.now_s()
        failures = 0
        while True:
            found = self._ask(unit)
            failures = failures + 1 if found.state == "failed" else 0
            if found.state in _ACTIVE:
                self._runs[unit] = found.runs
                return self._check(unit, True, "active", started_s)
            if found.final or failures == self._config.attempts:
                return self._check(unit, False, found.state, started_s)
            if self._pace.now_s() >= self._deadline_s:
                detail = f"{found.state} at the end of the window"
                return self._check(unit, False, detail, started_s)
            self._wait(POLL_S)

    def command(self, command: tuple[str, ...]) -> Check:
        """Run a command until it succeeds, its attempts are used up, or the window is over."""
        name = " ".join(command)
        self._begun(name)
        started_s = self._pace.now_s()
        detail = "not run: the window was over"
        for attempt in range(1, self._config.attempts + 1):
            if (left_s := self._deadline_s - self._pace.now_s()) <= 0:
                break
            ended = self._run(
                command, timeout_s=min(self._config.timeout_s, left_s), alive=self._alive
            )
            if ended.ok:
                return self._check(name, True, "status 0", started_s)
            detail = ended.reason
            if attempt < self._config.attempts:
                self._wait(min(PAUSE_S, self._deadline_s - self._pace.now_s()))
        return self._check(name, False, detail, started_s)

    def stays(self) -> Check:
        """See that services stayed active since they were first seen so, and do for a while."""
        name = f"services stay active for {self._config.settle_s:g} s"
        self._begun(name)
        started_s = self._pace.now_s()
        while True:
            for unit in self._config.services:
                found = self._ask_well(unit)
                if found.state not in _ACTIVE:
                    return self._check(name, False, f"{unit} is {found.state}", started_s)
                if found.runs != self._runs[unit]:
                    return self._check(name, False, f"{unit} was restarted", started_s)
            left_s = started_s + self._config.settle_s - self._pace.now_s()
            if left_s <= 0:
                return self._check(name, True, "they did", started_s)
            self._wait(min(POLL_S, left_s))

    def _ask_well(self, unit: str) -> _Unit:
        """Ask again where systemd did not answer: it may be about to execute itself anew."""
        found = self._ask(unit)
        for _ in range(1, self._config.attempts):
            if found.known or found.final:
                break
            self._wait(POLL_S)
            found = self._ask(unit)
        return found

    def _ask(self, unit: str) -> _Unit:
        """Ask systemd for state and starts at once: two questions could straddle a restart."""
        wanted = "--property=LoadState,ActiveState,NRestarts,InvocationID"
        # A unit's name may begin with a dash.
        command = ("systemctl", "show", wanted, "--", unit)
        ended = self._run(command, timeout_s=SYSTEMCTL_S, alive=self._alive)
        pairs = (line.partition("=") for line in ended.output.splitlines())
        said = {key: value for key, _, value in pairs}
        if not ended.ok or "ActiveState" not in said:
            # No answer is no health: in a chroot systemctl does nothing and calls that a success.
            missing = ended.status in (NOT_FOUND, NOT_EXECUTABLE) or _NO_SYSTEMD in ended.output
            why = "; ".join(ended.output.split("\n")).strip("; ") if ended.ok else ended.reason
            return _Unit(f"systemd cannot be asked: {why}", known=False, final=missing)
        state = said["ActiveState"]
        if state == "inactive" and said.get("LoadState") not in (None, "loaded"):
            state = said["LoadState"]  # not-found, masked, bad-setting
        return _Unit(state, (said.get("NRestarts", ""), said.get("InvocationID", "")))

    def _check(self, name: str, ok: bool, detail: str, started_s: float) -> Check:
        return Check(name, ok, detail, self._pace.now_s() - started_s)

    def _wait(self, seconds: float) -> None:
        """Wait in steps that are short enough for a watchdog."""
        end_s = self._pace.now_s() + seconds
        while (left_s := end_s - self._pace.now_s()) > 0:
            self._alive()
            self._pace.wait(min(POLL_S, left_s))

# SPDX-License-Identifier: Apache-2.0
"""Looking a device over: every check by itself, whatever the others find.

Nothing is written, and the lock is not taken: it can be called while an update runs. `repair` is
the exception: it takes the lock and writes the state anew where a copy of it is damaged.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from boot.detect import detect
from boot.errors import BootError
from fsprobe import ProbeError
from images.errors import ImageError
from updater.agent.checks import bootloader, channel, programs, slots, storage, trust
from updater.agent.checks.finding import Check, Finding, Level, Patient, ok, problem, warning
from updater.config import Config, load_config
from updater.lock import Lock
from updater.releases.clock import Clock, SystemClock, read_clock
from updater.state_files import StateFiles
from updater.system import System

CONFIGURATION = "configuration"

# In this order: what one finds, later ones use.
CHECKS: tuple[tuple[str, Check], ...] = (
    (slots.SUBJECT, slots.check_found),
    (slots.SUBJECT, slots.check_alike),
    (bootloader.SUBJECT, bootloader.check_kind),
    (bootloader.ENVIRONMENT, bootloader.check_environment),
    (bootloader.SUBJECT, bootloader.check_weaknesses),
    (bootloader.SUBJECT, bootloader.check_blessing),
    (slots.RUNNING, slots.check_running),
    (slots.SUBJECT, slots.check_inactive),
    (storage.STATE, storage.check_place),
    (storage.STATE, storage.check_copies),
    (storage.CACHE, storage.check_cache),
    (storage.METRICS, storage.check_metrics),
    ("gpg", trust.check_gpg),
    (trust.KEYS, trust.check_keys),
    (trust.CLOCK, trust.check_clock),
    (channel.SUBJECT, channel.check_settings),
    (programs.HOOKS, programs.check_hooks),
    (programs.HEALTH, programs.check_health),
    (programs.HEALTH, programs.check_caller),
    (programs.KERNEL, programs.check_kernel),
)


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """All findings, in the order they were made."""

    findings: tuple[Finding, ...]

    @property
    def sound(self) -> bool:
        """Whether there is no problem; warnings may be."""
        return all(finding.level is not Level.PROBLEM for finding in self.findings)


def diagnose(
    path: Path,
    *,
    running: str | None = None,
    online: bool = False,
    repair: bool = False,
    system: System | None = None,
    clock: Clock | None = None,
) -> Diagnosis:
    """Look a device over; this raises nothing but what ends a program.

    Args:
        path: of the configuration.
        running: the slot that runs, for disk images; `none` for none. None to find out.
        online: ask the channel, too.
        repair: write the state anew where a copy is damaged.
        system: where to look; None for this one.
        clock: None for the system's.
    """
    system, clock = system or System(), clock or SystemClock()
    try:
        config = load_config(path)
    except (ImageError, BootError) as error:
        found = [problem(CONFIGURATION, str(error), error.hint or "see docs/configuration.md")]
        found += _guarded(bootloader.SUBJECT, _without_configuration(system))
        return Diagnosis(tuple(found))
    findings = list(_guarded(CONFIGURATION, _read(config)))
    if repair:
        findings += _guarded(storage.STATE, _repaired(config, clock))
    patient = Patient(config, system, clock, running)
    checks = [*CHECKS, *([(channel.SUBJECT, channel.check_online)] if online else [])]
    for subject, check in checks:
        findings += _guarded(subject, check(patient))
    return Diagnosis(tuple(findings))


def _guarded(subject: str, check: Iterator[Finding]) -> Iterator[Finding]:
    """Yield the findings of a check; one more where it fails."""
    try:
        yield from check
    except (ImageError, BootError, ProbeError) as error:
        yield problem(subject, str(error), error.hint)
    except OSError as error:
        yield problem(subject, f"{error.filename or 'the system'}: {error.strerror or error}")
    except Exception as error:  # a bug in one check must not hide what the others find
        yield problem(
            subject,
            f"it could not be looked at: {type(error).__name__}: {error}",
            "this is a bug of caflip's: report it",
        )


def _read(config: Config) -> Iterator[Finding]:
    yield ok(CONFIGURATION, f"{config.path}: {config.compatible}, {', '.join(config.boot_names)}")
    if config.path.stat().st_mode & trust.OTHERS_MAY_WRITE:
        yield problem(
            CONFIGURATION,
            f"{config.path} can be written by others than its owner, and names programs to run",
            f"chmod go-w {config.path}",
        )


def _repaired(config: Config, clock: Clock) -> Iterator[Finding]:
    """Write the state anew where a copy is damaged or missing.

    Raises:
        Locked: an update runs.
        StateNewer: it is that of a later caflip, and stays.
        NoSpace, DeviceFault, NotAccessible: it cannot be written.
    """
    folder = config.state_folder
    if not folder.exists():
        return
    with Lock(folder, "doctor"):
        files = StateFiles(folder)
        state = files.load()
        damage, lost = files.damage, files.lost
        missing = state.generation > 1 and not all(map(Path.exists, storage.copies_in(folder)))
        if not damage and not missing:
            return
        # A time that is wrong for good would make every release expired: the state's counts more.
        now = read_clock(clock, last_signed=state.last_signed, state_written=state.written).now
        written = files.save(state, now)
    if lost:
        yield warning(
            storage.STATE,
            "it was started afresh: which releases are too old, and keys that were rotated, are"
            " forgotten",
            "install the newest release, so that no older one is taken",
        )
    else:
        yield ok(storage.STATE, f"both copies are whole again, generation {written.generation}")


def _without_configuration(system: System) -> Iterator[Finding]:
    """Yield what helps to write one."""
    seen = detect(system.root)
    if seen.kind is not None:
        yield ok(bootloader.SUBJECT, f"this system was started by {seen.kind}: {seen.reason}")
    else:
        yield warning(bootloader.SUBJECT, seen.reason)
    for item in seen.evidence[1:]:
        yield ok(bootloader.SUBJECT, f"also seen: {item.seen} ({item.kind})")
    yield warning("all else", "not looked at: slots, state, keys and hooks are named there")

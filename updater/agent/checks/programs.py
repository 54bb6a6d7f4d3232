# SPDX-License-Identifier: Apache-2.0
"""What an update calls: hooks, health checks, the reboot; and which kernel of ours digests."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator

from images.errors import SettingInvalid
from updater.agent.checks.bootloader import UNIT_FOLDERS
from updater.agent.checks.finding import Finding, Patient, ok, problem, warning
from updater.processes import run
from updater.system import System

HOOKS = "hooks"
HEALTH = "health checks"
KERNEL = "extension"
HEALTH_UNIT = "caflip-health.service"
SYSTEMCTL_S = 10.0

_LANES = frozenset({"x86_64", "aarch64"})
"""Machines that have a kernel of their own; elsewhere `portable` is the best there is."""


def check_hooks(patient: Patient) -> Iterator[Finding]:
    """See that the programs around an update can be started."""
    hooks, update = patient.config.hooks, patient.config.update
    named = {
        "before": (hooks.before, "every update would be put off"),
        "after": (hooks.after, "no slot would be activated"),
        "failed": (hooks.failed, "nobody would be told"),
        "reboot-command": (update.reboot_command, "the device would not restart"),
    }
    there = [name for name, (command, _) in named.items() if command]
    for name in there:
        command, consequence = named[name]
        why = not_startable(command[0], patient.system)
        if why is None:
            yield ok(HOOKS, f"{name}: {command[0]} can be started")
        else:
            yield problem(
                HOOKS, f"{name}: {command[0]} {why}: {consequence}", "install it, or chmod +x"
            )
    if not there:
        yield ok(HOOKS, "none is configured")


def check_health(patient: Patient) -> Iterator[Finding]:
    """See that the health checks can pass at all: else every update falls back."""
    config = patient.config.health
    for command in config.commands:
        why = not_startable(command[0], patient.system)
        if why is None:
            yield ok(HEALTH, f"{command[0]} can be started")
        else:
            yield problem(
                HEALTH,
                f"{command[0]} {why}: a slot with this configuration never proves good",
                "install it, or chmod +x",
            )
    units = [*config.services, *(["boot-complete.target"] if config.boot_complete else [])]
    for unit in () if patient.is_image else units:
        yield _unit(unit)
    if not config.commands and not units:
        yield warning(
            HEALTH,
            "none is configured: a slot counts as good as soon as `caflip health` runs in it",
            "name what has to work in [health]",
        )


def check_caller(patient: Patient) -> Iterator[Finding]:
    """See that something calls `caflip health` after a boot, where systemd could."""
    system = patient.system
    if patient.is_image or not system.exists("/run/systemd/system"):
        return
    for folder in UNIT_FOLDERS:
        for name in system.names(folder):
            wants = name.endswith((".wants", ".requires"))
            if wants and HEALTH_UNIT in system.names(f"{folder}/{name}"):
                yield ok(HEALTH, f"{HEALTH_UNIT} is enabled: {folder}/{name}")
                return
    yield warning(
        HEALTH,
        f"{HEALTH_UNIT} is not enabled: unless something else calls `caflip health`, new slots"
        " use their tries up and fall back",
        f"`systemctl enable {HEALTH_UNIT}`, in the image",
    )


def check_kernel(patient: Patient) -> Iterator[Finding]:
    """Tell which code finds and digests chunks."""
    try:
        from images.kernels import KERNEL_VARIABLE, choose_kernel

        kernel = choose_kernel()
    except ImportError as error:
        yield problem(KERNEL, f"it cannot be loaded: {error}", "install caflip for this machine")
        return
    except SettingInvalid as error:
        yield problem(KERNEL, str(error), error.hint)
        return
    if os.environ.get(KERNEL_VARIABLE):
        yield warning(KERNEL, f"{KERNEL_VARIABLE} asks for {kernel}", "unset it outside of tests")
    elif kernel == "portable" and platform.machine() in _LANES:
        yield warning(KERNEL, "the CPU has no vectors that are used: digests take longer")
    else:
        yield ok(KERNEL, f"{kernel} is used")


def not_startable(program: str, system: System) -> str | None:
    """Return why a program cannot be started; None if it can."""
    path = system.path(program)
    if not path.exists():
        return "is not there"
    if not path.is_file():
        return "is no file"
    return None if os.access(path, os.X_OK) else "is not executable"


def _unit(unit: str) -> Finding:
    ended = run(
        ("systemctl", "show", "--property=LoadState", "--value", "--", unit), timeout_s=SYSTEMCTL_S
    )
    if not ended.ok:
        return problem(
            HEALTH,
            f"{unit}: systemd cannot be asked ({ended.reason})",
            "services are checked through systemd; use commands where there is none",
        )
    state = ended.output.strip()
    if state == "loaded":
        return ok(HEALTH, f"{unit} is there")
    return problem(
        HEALTH,
        f"{unit}: systemd says {state!r}: a slot with this configuration never proves good",
        "install the unit, or take it out of health.services",
    )

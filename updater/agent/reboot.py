# SPDX-License-Identifier: Apache-2.0
"""Restarting into the slot that boots next, where the configuration asks for it."""

from __future__ import annotations

from updater.agent.events import Noticed
from updater.agent.machine import Machine
from updater.config import Reboot
from updater.errors import RebootFailed
from updater.processes import run

TIMEOUT_S = 60.0


def reboot_after(machine: Machine) -> None:
    """Restart after an update, if that is configured.

    Raises:
        RebootFailed: the command failed; the new slot boots at the next restart all the same.
    """
    if machine.config.update.reboot is Reboot.AFTER_UPDATE:
        _reboot(machine)


def reboot_after_failure(machine: Machine) -> None:
    """Restart out of a slot that is not healthy, if restarts are configured and it was given up.

    Raises:
        RebootFailed: the command failed.
    """
    running = machine.running
    boot = machine.bootloader.read()
    leaves = running is not None and boot.next not in (None, running.boot)
    if machine.config.update.reboot is Reboot.AFTER_UPDATE and leaves:
        _reboot(machine)


def reboot_command(machine: Machine) -> tuple[str, ...]:
    """Return what restarts this device, with what the firmware has to be told."""
    argument = machine.bootloader.reboot_argument()
    command = machine.config.update.reboot_command or ("systemctl", "reboot")
    if argument is None:
        return command
    if machine.config.update.reboot_command:
        return (*command, argument)
    return (*command, f"--reboot-argument={argument}")


def _reboot(machine: Machine) -> None:
    command = reboot_command(machine)
    machine.sink(Noticed("agent.reboot", f"restarting: {' '.join(command)}"))
    ended = run(command, timeout_s=TIMEOUT_S)
    if not ended.ok:
        raise RebootFailed(f"{' '.join(command)} {ended.reason}")

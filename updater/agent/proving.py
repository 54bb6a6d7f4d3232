# SPDX-License-Identifier: Apache-2.0
"""After the boot: is the running slot good, and what became of the one that was tried?

    the tried slot runs        health checks; then it is marked good, and sequence and keys move up
    and it is not healthy      marked bad, remembered as failed; the next boot is the old slot
    the old slot runs again    the bootloader fell back: remembered as failed, with a waiting time

A slot is never marked bad when there is no other that could boot: an unhealthy system that runs
is better than none.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from boot.bootloader import BootState, SlotState
from updater.agent.events import Noticed, Step, StepBegan
from updater.agent.machine import Machine
from updater.errors import NoFallback, NotStaged, SlotUnclear, Unhealthy
from updater.health import Health
from updater.slots import SlotGroup
from updater.state import Content, SlotRecord

if TYPE_CHECKING:
    from updater.agent.candidate import Candidate


class Verdict(enum.Enum):
    """What was found after the boot; the value is what users see."""

    ALREADY_GOOD = "already good"
    PROVED = "proved good"
    FELL_BACK = "fell back"


@dataclass(frozen=True, slots=True)
class ProofReport:
    """What became of the last update.

    Attributes:
        slot: the one that runs.
        fell_back_from: the slot that was tried and does not run.
        health: None where nothing had to be checked.
    """

    verdict: Verdict
    slot: str
    fell_back_from: str | None = None
    health: Health | None = None


def prove(machine: Machine, check: Callable[[], Health]) -> ProofReport:
    """Look at what this boot tells, and settle it.

    Args:
        machine: this device, locked.
        check: runs the health checks; called only if the running slot is being tried.

    Raises:
        Unhealthy: the running slot failed; it is marked bad where another can boot.
        SlotUnclear: no slot runs from here.
    """
    running = _running(machine)
    boot = machine.bootloader.read()
    fallen = note_fallback(machine, boot)
    if boot.slot(running.boot).state is SlotState.GOOD:
        if machine.record(running).content is Content.ACTIVE:
            # Marked good, and cut off before it was remembered.
            machine.remember(machine.state.proved(running.boot, machine.now()))
            machine.remember_twice()
        verdict = Verdict.ALREADY_GOOD if fallen is None else Verdict.FELL_BACK
        return ProofReport(verdict, running.boot, fallen)
    machine.sink(StepBegan(Step.PROVE, running.boot))
    health = check()
    if health.healthy:
        mark_good(machine)
        return ProofReport(Verdict.PROVED, running.boot, fallen, health)
    reason = "; ".join(f"{c.name}: {c.detail}" for c in health.checks if not c.ok)
    _give_up(machine, running, reason)
    if can_boot_without(boot, running.boot):
        machine.bootloader.mark_bad(running.boot)
        raise Unhealthy(
            f"slot {running.boot} is not healthy: {reason}",
            hint="it is marked bad; the next boot is the other slot",
        )
    raise Unhealthy(
        f"slot {running.boot} is not healthy: {reason}",
        hint="no other slot can boot, so it stays: install a release that works",
    )


def mark_good(machine: Machine) -> str:
    """Let the running slot boot from now on without being counted; return its name.

    The bootloader is told first: cut in between, the slot is good and `prove` remembers it later.

    Raises:
        SlotUnclear: no slot runs from here.
    """
    running = _running(machine)
    machine.sink(StepBegan(Step.MARK_GOOD, running.boot))
    machine.bootloader.mark_good(running.boot)
    record = machine.record(running)
    if record.content is not Content.GOOD:
        state = machine.state.proved(running.boot, machine.now())
        machine.state = state
        machine.remember_slot(running, state.slot(running.boot), "proved good")
        machine.remember_twice()
    return running.boot


def mark_bad(machine: Machine, group: SlotGroup, reason: str) -> None:
    """Never boot a slot again, until something new is installed on it.

    Raises:
        NoFallback: no other slot could boot then.
    """
    if not can_boot_without(machine.bootloader.read(), group.boot):
        raise NoFallback(f"slot {group.boot} is the only one that can boot")
    _give_up(machine, group, reason)
    machine.bootloader.mark_bad(group.boot)


def rollback(machine: Machine) -> str:
    """Let the other, proved slot boot next and from then on; return its name.

    The release that is left counts as failed, else the next scheduled run would bring it back.

    Raises:
        NoFallback: there is no other slot that is proved good.
    """
    running = _running(machine)
    boot = machine.bootloader.read()
    for group in machine.groups:
        if group.boot != running.boot and boot.slot(group.boot).state is SlotState.GOOD:
            left = machine.record(running)
            if left.release:
                machine.state = machine.state.failed(
                    left.release, "rolled back by hand", machine.now(), for_good=True
                )
            machine.remember_slot(group, machine.record(group), "rolled back to")
            machine.bootloader.mark_good(group.boot)
            return group.boot
    raise NoFallback(f"no slot but {running.boot} is proved good")


def note_fallback(machine: Machine, boot: BootState) -> str | None:
    """See whether a slot that was to be tried does not run, and remember that it failed.

    Without a bootloader that counts, a cut right before the slot became primary looks the same, and
    costs the release one failure.

    Returns:
        Its name; None where all is as it should be.
    """
    running = _running(machine)
    for group in machine.groups:
        record = machine.record(group)
        if group.boot == running.boot or record.content is not Content.ACTIVE:
            continue
        if record.boot_id == machine.boot_id or boot.next == group.boot:
            continue  # not rebooted yet, or tries are left
        seen = boot.slot(group.boot)
        if machine.bootloader.counts and (seen.state is SlotState.BAD or seen.tries_left):
            continue  # cut off before it became primary: it was never tried
        reason = "it did not come up, or did not prove good, and the bootloader fell back"
        machine.sink(Noticed("agent.fell-back", f"slot {group.boot}: {reason}"))
        _give_up(machine, group, reason)
        machine.bootloader.mark_bad(group.boot)
        return group.boot
    return None


def vouch_for(machine: Machine, group: SlotGroup, candidate: Candidate) -> None:
    """Take a slot that was just filled for proved, as a factory does that tests its images.

    Raises:
        NotStaged: it does not hold the candidate.
    """
    record = machine.record(group)
    if record.release != candidate.digest:
        raise NotStaged(f"slot {group.boot} does not hold {candidate.version!r}")
    machine.sink(StepBegan(Step.MARK_GOOD, group.boot))
    machine.state = machine.state.proved(group.boot, machine.now())
    machine.remember_slot(group, machine.state.slot(group.boot), "provisioned")
    machine.remember_twice()
    machine.bootloader.mark_good(group.boot)


def is_running(machine: Machine, release: bytes) -> bool:
    """Tell whether the running slot holds a release, proved good."""
    if machine.running is None:
        return False
    record = machine.record(machine.running)
    return (record.release, record.content) == (release, Content.GOOD)


def can_boot_without(boot: BootState, name: str) -> bool:
    """Tell whether some other slot is proved good."""
    return any(slot.name != name and slot.state is SlotState.GOOD for slot in boot.slots)


def _give_up(machine: Machine, group: SlotGroup, reason: str) -> None:
    record = machine.record(group)
    if record.release:
        machine.state = machine.state.failed(record.release, reason, machine.now())
    failed: SlotRecord = replace(record, content=Content.BAD, last_error=reason)
    machine.remember_slot(group, failed, "failed")


def _running(machine: Machine) -> SlotGroup:
    if machine.running is None:
        raise SlotUnclear(
            "no slot runs from here",
            hint="for a disk image: --running=NAME; "
            "on a device `caflip doctor` says why it cannot be told",
        )
    return machine.running

# SPDX-License-Identifier: Apache-2.0
"""Are the slots there, alike, apart, and may the inactive one be written?"""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import combinations

from boot.bootloader import SlotState
from images.errors import ImageError
from updater.agent.checks.finding import Finding, Patient, ok, problem, warning
from updater.config_slots import SlotConfig
from updater.devices import find_slot
from updater.running import find_running
from updater.slots import Slot, SlotGroup, refuse_active, slot_extents
from updater.system import System
from updater.units import format_bytes

SUBJECT = "slots"
RUNNING = "running slot"


def check_found(patient: Patient) -> Iterator[Finding]:
    """Look for the device of each slot; what is found is kept for the other checks."""
    found: dict[str, dict[str, Slot]] = {name: {} for name in patient.config.boot_names}
    for wanted in patient.config.slots:
        try:
            slot = _find(wanted, patient.system)
        except ImageError as error:
            yield problem(SUBJECT, str(error), error.hint)
            continue
        found[wanted.boot][wanted.slot_class] = slot
        yield ok(
            SUBJECT,
            f"{wanted.boot}: {slot} has {format_bytes(slot.length)},"
            f" sectors of {slot.sector_size} bytes",
        )
    patient.groups = tuple(SlotGroup(boot, slots) for boot, slots in found.items())


def check_alike(patient: Patient) -> Iterator[Finding]:
    """Compare the slots of one class, and see that no two share a byte."""
    by_class: dict[str, list[Slot]] = {}
    for slot in patient.slots:
        by_class.setdefault(slot.slot_class, []).append(slot)
    for name, slots in by_class.items():
        lengths = {slot.length for slot in slots}
        if len(lengths) > 1:
            told = ", ".join(f"{slot.name} {slot.length}" for slot in slots)
            yield warning(
                SUBJECT,
                f"the slots of class {name!r} differ in length (bytes): {told}",
                "an image has to fit the shortest one: give all of them the same length",
            )
        if len({slot.sector_size for slot in slots}) > 1:
            told = ", ".join(f"{slot.name} {slot.sector_size}" for slot in slots)
            yield warning(
                SUBJECT,
                f"the slots of class {name!r} differ in the bytes of a sector: {told}",
                "build images whose file system has blocks of at least the largest sector",
            )
    for one, other in combinations(patient.slots, 2):
        if any(
            mine.meets(theirs)
            for mine in slot_extents(one, patient.system)
            for theirs in slot_extents(other, patient.system)
        ):
            yield problem(
                SUBJECT,
                f"slots {one} and {other} share bytes",
                "give each slot a device or region of its own",
            )


def check_running(patient: Patient) -> Iterator[Finding]:
    """Tell which slot runs, by which evidence, and whether there is one to fall back to."""
    if patient.bootloader is None:
        yield warning(RUNNING, "not looked at: the bootloader cannot be asked")
        return
    found = find_running(patient.groups, patient.bootloader, patient.override, patient.system)
    patient.running = found
    told = "; ".join(f"{item.seen} ({item.boot or 'none of the slots'})" for item in found.evidence)
    if patient.override is not None:
        told = "; ".join(filter(None, (f"--running={patient.override}", told)))
    if found.group is not None:
        yield ok(RUNNING, f"{found.group.boot}: {told}")
        yield from _standing(patient, found.group)
    elif patient.is_image or patient.override is not None:
        yield ok(RUNNING, f"none: {told or 'the slots are files'}")
    else:
        yield problem(
            RUNNING,
            f"it cannot be told: {told or 'there is no evidence'}",
            "put caflip.slot=NAME on the kernel's command line",
        )


def check_inactive(patient: Patient) -> Iterator[Finding]:
    """See that the slots that do not run may be written."""
    running = None if patient.running is None else patient.running.group
    for group in patient.groups:
        for slot in group.slots.values():
            if running is not None and group.boot == running.boot:
                if slot.read_only and slot.number is not None:
                    yield warning(
                        SUBJECT,
                        f"the kernel lets nobody write to {slot}; the update after next needs to",
                        "see that it is writable once the other slot runs: `blockdev --getro`",
                    )
                continue
            yield from _writable(slot, running, patient.system)


def _find(wanted: SlotConfig, system: System) -> Slot:
    return find_slot(wanted.name, wanted.slot_class, wanted.device, system=system)


def _writable(slot: Slot, running: SlotGroup | None, system: System) -> Iterator[Finding]:
    subject = "inactive slot"
    if slot.read_only or not os.access(system.path(slot.path), os.W_OK):
        yield problem(
            subject,
            f"{slot} cannot be written",
            "run as root; `blockdev --setrw` where the kernel has it read-only",
        )
        return
    try:
        refuse_active(slot, running, system)
    except ImageError as error:
        yield problem(subject, str(error), error.hint)
        return
    yield ok(subject, f"{slot} is used by nobody and may be written")


def _standing(patient: Patient, running: SlotGroup) -> Iterator[Finding]:
    if patient.boot is None:
        return
    mine = patient.boot.slot(running.boot)
    if mine.state is not SlotState.GOOD:
        left = "" if mine.tries_left is None else f", {mine.tries_left} tries left"
        yield warning(
            RUNNING,
            f"{running.boot} is not proved good ({mine.state.value}{left}): no update until then",
            "`caflip health` proves it",
        )
    others = [slot for slot in patient.boot.slots if slot.name != running.boot]
    if not any(slot.state is SlotState.GOOD for slot in others):
        yield warning(
            RUNNING,
            f"there is nothing but {running.boot} to boot: no other slot is proved good",
            "an update and its first healthy boot fill the other slot",
        )

# SPDX-License-Identifier: Apache-2.0
"""Which group of slots runs, by evidence that has to agree.

In order of weight:

    the root device            what `/` stands on, through overlay, loop device, mapping
    what the bootloader says   its own record of this boot
    the kernel's command line  caflip.slot= or rauc.slot=, then root=

Nothing is guessed: evidence for two groups is an error that names it all. Image files are nobody's
running system, so for them nothing is asked; nor is the command line where the root stands on a
disk without any slot: that is a factory's own, and speaks of other slots.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from boot.bootloader import Bootloader
from boot.command_line import PARAMETERS
from images.errors import SettingInvalid
from updater.block_devices import base_disks, extents_below, own_extents
from updater.device_names import NamedBy, parse_device_name
from updater.devices import numbers_of
from updater.errors import SlotMissing, SlotUnclear
from updater.slots import SlotGroup, slot_extents
from updater.system import Number, System
from updater.usage import root_devices

NOBODY = "none"
"""For `--running`: no slot runs from here."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """One thing that was seen.

    Attributes:
        seen: in words.
        boot: the group that it speaks for; None if it speaks for none of them.
        weighs: False where it is told but does not count.
    """

    seen: str
    boot: str | None
    weighs: bool = True


@dataclass(frozen=True, slots=True)
class Running:
    """What was found out.

    Attributes:
        group: the one that runs; None where none does, or nothing tells.
        evidence: all of it.
    """

    group: SlotGroup | None
    evidence: tuple[Evidence, ...]


def find_running(
    groups: Sequence[SlotGroup],
    bootloader: Bootloader,
    override: str | None = None,
    system: System | None = None,
) -> Running:
    """Tell which group runs.

    Args:
        groups: of the configuration.
        bootloader: is asked what it knows of this boot.
        override: the name of a group or a slot that somebody vouches for, or `none`.
        system: where to look; None for this one.

    Raises:
        SlotUnclear: evidence for more than one group, or the root device contradicts `override`.
        SlotMissing: `override` names nothing.
        BootError: the bootloader cannot be asked.
    """
    system = system or System()
    if all(slot.number is None for group in groups for slot in group.slots.values()):
        found: tuple[Evidence, ...] = ()
    else:
        found = tuple(_evidence(groups, bootloader, system))
    if override is not None:
        return _overridden(groups, override, found)
    boots = {item.boot for item in found if item.boot is not None and item.weighs}
    if len(boots) > 1:
        raise SlotUnclear(f"which slot runs is contradictory: {_told(found)}")
    return Running(next((group for group in groups if group.boot in boots), None), found)


def inactive(groups: Sequence[SlotGroup], running: Running) -> tuple[SlotGroup, ...]:
    """Return the groups that do not run.

    Raises:
        SlotUnclear: nothing tells which one runs.
    """
    if running.group is None:
        raise SlotUnclear(
            f"which slot runs cannot be told: {_told(running.evidence) or 'there is no evidence'}",
            hint="for a disk image: --running=NAME, or `caflip install --slot=NAME`; "
            "on a device `caflip doctor` shows more",
        )
    return tuple(group for group in groups if group.boot != running.group.boot)


def group_named(groups: Sequence[SlotGroup], name: str) -> SlotGroup:
    """Return a group by the bootloader's name, or by that of one of its slots.

    Raises:
        SlotMissing: there is none.
    """
    for group in groups:
        if group.boot == name:
            return group
    for group in groups:
        if any(slot.name == name for slot in group.slots.values()):
            return group
    known = ", ".join(group.boot for group in groups)
    raise SlotMissing(f"there is no slot {name!r}", hint=f"there are {known}")


def _evidence(
    groups: Sequence[SlotGroup], bootloader: Bootloader, system: System
) -> Iterator[Evidence]:
    roots = root_devices(system)
    elsewhere = False
    for number in roots:
        boot = _group_below(groups, number, system)
        yield Evidence(f"/ is on device {number}", boot)
        elsewhere = elsewhere or boot is None
    # Who booted this machine says nothing of slots on a disk that it did not boot from.
    weighs = not (roots and elsewhere and _on_other_disks(groups, roots, system))
    told = bootloader.running()
    if told is not None:
        yield Evidence(f"the bootloader says {told!r}", _known(groups, told), weighs)
    parameters = _parameters(system)
    for name in PARAMETERS:
        if name in parameters:
            value = parameters[name]
            yield Evidence(f"{name}={value} for the kernel", _known(groups, value), weighs)
    if "root" in parameters:
        text = parameters["root"]
        yield Evidence(f"root={text} for the kernel", _group_of_root(groups, text, system), weighs)


def _overridden(groups: Sequence[SlotGroup], override: str, found: tuple[Evidence, ...]) -> Running:
    group = None if override == NOBODY else group_named(groups, override)
    for item in found:
        on_root = item.seen.startswith("/ is on")
        if on_root and item.boot is not None and (group is None or item.boot != group.boot):
            raise SlotUnclear(
                f"{override!r} is said to run, but {item.seen}, which is slot {item.boot!r}",
                hint="--running is for disk images; leave it out here",
            )
    return Running(group, found)


def _group_below(groups: Sequence[SlotGroup], number: Number, system: System) -> str | None:
    """Return the group of the slot that a device stands on."""
    # What is the same bytes says most; what a mapping stands on may be shared by several slots.
    for extents in (own_extents(number, system), extents_below(number, system)):
        boots = {
            group.boot
            for group in groups
            for slot in group.slots.values()
            if any(one.meets(two) for one in slot_extents(slot, system) for two in extents)
        }
        if boots:
            return boots.pop() if len(boots) == 1 else None
    return None


def _on_other_disks(groups: Sequence[SlotGroup], roots: Sequence[Number], system: System) -> bool:
    root_disks = frozenset[Number]().union(*(base_disks(number, system) for number in roots))
    slots = [slot for group in groups for slot in group.slots.values() if slot.number is not None]
    slot_disks = frozenset[Number]().union(
        *(base_disks(slot.number, system) for slot in slots if slot.number is not None)
    )
    return bool(root_disks) and not root_disks & slot_disks


def _known(groups: Sequence[SlotGroup], name: str) -> str | None:
    try:
        return group_named(groups, name).boot
    except SlotMissing:
        return None


def _group_of_root(groups: Sequence[SlotGroup], text: str, system: System) -> str | None:
    """Return the group of the device that `root=` names."""
    try:
        name = parse_device_name(text, Path("/"))
        if name.by is NamedBy.PATH and not text.startswith("/dev/"):
            return None
        found = numbers_of(name, system)
    except (SettingInvalid, SlotMissing):
        return None
    boots = {_group_below(groups, number, system) for number in found}
    return boots.pop() if len(boots) == 1 else None


def _parameters(system: System) -> dict[str, str]:
    found = {}
    for word in (system.text("/proc/cmdline") or "").split():
        if word == "--":
            break
        name, separator, value = word.partition("=")
        if separator:
            found[name] = value
    return found


def _told(evidence: Sequence[Evidence]) -> str:
    return "; ".join(
        f"{item.seen} ({item.boot or 'none of the slots'}"
        f"{'' if item.weighs else ', of another disk'})"
        for item in evidence
    )

# SPDX-License-Identifier: Apache-2.0
"""Slots on this system: what is written, and what must never be.

`refuse_active` is the last thing that is asked before a slot is written. It does not believe the
configuration: it compares the bytes of the slot with all that is mounted, swapped to or held.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from images.errors import TargetBusy
from updater.block_devices import Extent, extents_below, file_extents, own_extents
from updater.errors import SlotActive, SlotMissing
from updater.system import Number, System
from updater.usage import Use, held_devices, uses


@dataclass(frozen=True, slots=True)
class Slot:
    """One device of one group, as it was found.

    Attributes:
        name: from the configuration.
        slot_class: which image of a release goes there.
        path: a device node, or a file.
        offset: where in it the slot begins, in bytes.
        length: bytes of the slot.
        is_region: the slot is a part of what `path` names.
        number: of the device; None for a file.
        sector_size: logical, in bytes; 512 for a file.
        read_only: the kernel lets nobody write to it.
    """

    name: str
    slot_class: str
    path: Path
    offset: int
    length: int
    is_region: bool = False
    number: Number | None = None
    sector_size: int = 512
    read_only: bool = False

    def __str__(self) -> str:
        region = f"@{self.offset}+{self.length}" if self.is_region else ""
        return f"{self.name} ({self.path}{region})"


@dataclass(frozen=True, slots=True)
class SlotGroup:
    """Slots that boot together.

    Attributes:
        boot: the bootloader's name.
        slots: by class, in the order of the configuration.
    """

    boot: str
    slots: Mapping[str, Slot]


def refuse_active(
    slot: Slot, running: SlotGroup | None = None, system: System | None = None
) -> None:
    """Refuse a slot that the running system stands on, whatever the configuration says.

    Compared are bytes, not names: another device node of the same number, a link, the whole disk,
    a partition of it, a region, a loop device or a mapping over it are all the same.

    Args:
        slot: to be written.
        running: the group that runs, as far as that is known; none of its slots is written.
        system: where to look; None for this one.

    Raises:
        SlotActive: it is mounted, also read-only, swapped to, or holds what is.
        TargetBusy: it is held for another reason, such as by a device that is mapped onto it.
        SlotMissing: nobody may write to it. Said here and not where it is found, because the slot
            that runs may well be read-only, and is a seed all the same.
    """
    system = system or System()
    extents = slot_extents(slot, system)
    if running is not None:
        for other in running.slots.values():
            if _meet(extents, slot_extents(other, system)):
                raise SlotActive(f"slot {slot} is the one that runs: {running.boot}")
    # What a slot may lie on somewhere, such as the mounted partition below a mapping.
    below = () if slot.number is None else extents_below(slot.number, system)
    for use in uses(system):
        if _meet(extents, use.extents) or _meet(extents, use.below) or _meet(below, use.extents):
            raise _active(slot, use)
    for use in held_devices(system):
        if _meet(extents, use.extents):
            raise _active(slot, use)
    if slot.number is not None and system.is_held(slot.path):
        raise TargetBusy(
            f"slot {slot} is in use: the kernel does not give it away",
            hint="unmount it in every namespace, and take down what is mapped onto it",
        )
    if slot.read_only:
        # Such a device can be opened for writing; only the first write fails (blkdev_write_iter()
        # in the kernel's block/fops.c), when the slot has been marked bad already.
        raise SlotMissing(
            f"slot {slot} is read-only",
            hint="`blockdev --setrw`, the card's switch, or the permissions of the file",
        )


def slot_extents(slot: Slot, system: System) -> tuple[Extent, ...]:
    """Return the bytes of a slot, in the coordinates of every layer that is known exactly."""
    if slot.number is None:
        whole = file_extents(slot.path, system)
    else:
        whole = own_extents(slot.number, system)
    if not slot.is_region:
        return whole
    return tuple(extent.part(slot.offset, slot.length) for extent in whole)


def _active(slot: Slot, use: Use) -> SlotActive:
    return SlotActive(
        f"slot {slot} is in use: {use.what}",
        hint="only a slot that nothing runs from can be written; see `caflip status`",
    )


def _meet(some: tuple[Extent, ...], others: tuple[Extent, ...]) -> bool:
    return any(one.meets(other) for one in some for other in others)

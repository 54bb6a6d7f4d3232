# SPDX-License-Identifier: Apache-2.0
"""The `[[slot]]` tables of a configuration, and what has to be true of all of them together.

All slots with the same `boot` are one group: they are written, activated and given up together, so
every group has the same classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path

from updater import config_kinds as kinds
from updater.config_fields import Place, key, keys_of, read_record, refuse_unknown, table_at
from updater.device_names import DeviceName, NamedBy, parse_device_name


def _device(value: object, folder: Path) -> DeviceName:
    """partition, device, file, or region of one."""
    if not isinstance(value, str):
        raise ValueError("a text")
    return parse_device_name(value, folder)


@dataclass(frozen=True, slots=True)
class SlotConfig:
    """One slot: one device of one group."""

    name: str = field(
        metadata=key(
            kinds.word(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,31}", "a name of up to 32 letters and digits"),
            "What commands and messages call it.",
            '"a"',
        )
    )
    device: DeviceName = field(
        metadata=key(_device, "Where it is.", '"PARTLABEL=root-a"'),
    )
    boot: str = field(
        metadata=key(
            kinds.word(
                r"[A-Za-z0-9_]([A-Za-z0-9_. -]{0,62}[A-Za-z0-9_.-])?", "a name of the bootloader's"
            ),
            "The bootloader's name of the group that it belongs to.",
            '"A"',
        )
    )
    slot_class: str = field(
        default="rootfs",
        metadata=key(
            # As in releases (`releases/names.py`): they name images by class.
            kinds.word(r"[a-z0-9][a-z0-9_-]{0,31}", "a class: lower-case letters and digits"),
            "Which image of a release goes there.",
            '"rootfs"',
            name="class",
        ),
    )


def read_slot(place: Place, value: object, folder: Path) -> SlotConfig:
    """Read one table.

    Raises:
        ConfigInvalid: it makes no sense.
    """
    table = table_at(place, value)
    refuse_unknown(place, table, keys_of(SlotConfig))
    return read_record(place, table, SlotConfig, folder)


def check_slots(top: Place, places: Sequence[Place], slots: Sequence[SlotConfig]) -> None:
    """Hold the slots against each other.

    Args:
        top: of the whole file.
        places: of each slot.
        slots: as they were read.

    Raises:
        ConfigInvalid: a name, a class of a group, or a device stands twice; there are fewer than
            two groups; or one lacks a class that another has.
    """
    groups: dict[str, dict[str, int]] = {}
    for number, slot in enumerate(slots):
        group = groups.setdefault(slot.boot, {})
        if slot.slot_class in group:
            place, other = places[number].below("boot"), slots[group[slot.slot_class]]
            raise place.error(
                f"the slots {other.name!r} and {slot.name!r} are both of class "
                f"{slot.slot_class!r} and boot as {slot.boot!r}",
                "give each its own boot name, or its own class",
            )
        group[slot.slot_class] = number
    for first, second in combinations(range(len(slots)), 2):
        one, other = slots[first], slots[second]
        if one.name == other.name:
            raise places[second].below("name").error(f"two slots have the name {one.name!r}")
        if _overlap(one.device, other.device):
            place = places[second].below("device")
            raise place.error(
                f"the slots {one.name!r} and {other.name!r} are on the same device: "
                f"{one.device} and {other.device}"
            )
    if len(groups) < 2:
        boots = ", ".join(groups) or "none"
        raise top.below("slot").error(
            f"at least two slots with different boot names are needed; there is {boots}",
            'such as [[slot]] name = "b", device = "PARTLABEL=root-b", boot = "B"',
        )
    _check_classes(places, slots, groups)


def _check_classes(
    places: Sequence[Place],
    slots: Sequence[SlotConfig],
    groups: Mapping[str, Mapping[str, int]],
) -> None:
    classes = dict.fromkeys(slot.slot_class for slot in slots)
    for boot, group in groups.items():
        for name in classes:
            if name not in group:
                one = next(slot for slot in slots if slot.slot_class == name)
                raise places[next(iter(group.values()))].error(
                    f"the slots that boot as {boot!r} have none of class {name!r}, "
                    f"as slot {one.name!r} of {one.boot!r} is",
                    "every group needs the same classes",
                )


def _overlap(one: DeviceName, other: DeviceName) -> bool:
    """Tell whether two texts mean the same bytes, as far as texts tell that."""
    if (one.by, one.value) != (other.by, other.value):
        return False
    if one.inside is not None and other.inside is not None:
        return one.inside == other.inside
    if one.by is not NamedBy.PATH or one.length is None or other.length is None:
        return True
    return one.offset < other.offset + other.length and other.offset < one.offset + one.length

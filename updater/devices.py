# SPDX-License-Identifier: Apache-2.0
"""From a name in the configuration to a device on this system.

`known_partitions` tells what the kernel has, and the links of udev what may not be read. A name
that fits two partitions is refused, unless one of them is on the disk that the root is on: an
installer's stick, or a copy of the image on a loop device, then changes nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from fsprobe.device import Device
from images.durable import os_errors
from updater.block_devices import base_disks, folder_of, sectors_in
from updater.device_names import DeviceName, NamedBy
from updater.errors import ConfigInvalid, SlotMissing
from updater.hotplug import until_found
from updater.known_partitions import KnownPartition, fits, known_partitions
from updater.partitions import list_partitions
from updater.slots import Slot
from updater.system import Number, System
from updater.usage import root_devices

BY_LINK = {
    NamedBy.PARTLABEL: "/dev/disk/by-partlabel",
    NamedBy.PARTUUID: "/dev/disk/by-partuuid",
}

SHOWN = 12
"""Labels that a hint names; a phone's flash has eighty."""


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a slot is.

    Attributes:
        length: bytes of a region; None for all of the file or device.
    """

    path: Path
    offset: int = 0
    length: int | None = None


def find_slot(
    name: str,
    slot_class: str,
    device: DeviceName,
    wait_s: float = 0.0,
    system: System | None = None,
) -> Slot:
    """Find the device of a slot, and what there is to know of it.

    Args:
        name: of the slot.
        slot_class: which image goes there.
        device: from the configuration.
        wait_s: how long a device that is not there yet is waited for.
        system: where to look; None for this one.

    Raises:
        SlotMissing: it is not there, or is shorter than its region.
        ConfigInvalid: its name fits two partitions.
        NotAccessible, DeviceFault: it is there and cannot be opened.
    """
    system = system or System()

    def look() -> Slot | None:
        place = _place_of(device, system)
        return None if place is None else _slot(name, slot_class, device, place, system)

    found = until_found(look, wait_s) if wait_s and _may_appear(device) else look()
    if found is None:
        after = f" after {wait_s:g} s" if wait_s and _may_appear(device) else ""
        raise SlotMissing(
            f"slot {name}: there is no {device}{after}", hint=_what_there_is(device, system)
        )
    return found


def numbers_of(device: DeviceName, system: System) -> tuple[Number, ...]:
    """Return the numbers of the devices that a name fits, those of the root's disk alone if any."""
    if device.by is NamedBy.PATH and device.inside is None:
        node = system.node(device.value)
        return () if node is None or node.number is None else (node.number,)
    return tuple(item.number for item in _fitting(device, system))


def _place_of(device: DeviceName, system: System) -> _Place | None:
    """Return where a name leads; None while it leads nowhere.

    Raises:
        ConfigInvalid: it fits two partitions.
    """
    if device.by is NamedBy.PATH:
        node = system.node(device.value)
        if node is None:
            return None
        if device.inside is None:
            return _Place(Path(device.value), device.offset, device.length)
        if node.number is None:
            return _in_image(device, device.inside, system)
    found = _fitting(device, system)
    _refuse_two(device, [item.node for item in found])
    if found:
        node = system.node(found[0].node)
        same = node is not None and node.number == found[0].number
        return _Place(Path(found[0].node)) if same else None
    if device.by is NamedBy.PATH:
        return None
    # What may not be read, or is no partition of the kernel's: udev may know it.
    link = f"{BY_LINK[device.by]}/{_escaped(device.value)}"
    return _Place(system.resolved(link)) if system.node(link) is not None else None


def _in_image(device: DeviceName, inside: DeviceName, system: System) -> _Place | None:
    """Return the region of an image file that its own table gives to a partition."""
    with os_errors(device.value):
        table = list_partitions(system.path(device.value))
    found = [item for item in table if fits(inside, item.label, item.uuid)]
    _refuse_two(device, [f"partition {item.number}" for item in found])
    return _Place(Path(device.value), found[0].offset, found[0].length) if found else None


def _refuse_two(device: DeviceName, found: Sequence[str]) -> None:
    if len(found) > 1:
        raise ConfigInvalid(
            f"{device} fits {' and '.join(found)}",
            hint="give each partition a label of its own, or name them by PARTUUID=",
        )


def _fitting(device: DeviceName, system: System) -> list[KnownPartition]:
    """Return the partitions of the kernel that a name fits."""
    if device.inside is not None:
        node = system.node(device.value)
        on_it = (item for item in known_partitions(system) if node and item.disk == node.number)
        return [item for item in on_it if item.fits(device.inside)]
    found = [item for item in known_partitions(system) if item.fits(device)]
    if len(found) < 2:
        return found
    disks: set[Number] = set()
    for number in root_devices(system):
        disks |= base_disks(number, system)
    return [item for item in found if item.disk in disks] or found


def _what_there_is(device: DeviceName, system: System) -> str | None:
    """Return a hint with the names that would have fitted something; None where none would do."""
    named = device.inside or device
    node = system.node(device.value) if device.inside is not None else None
    if named.by is NamedBy.PATH or (device.inside is not None and node is None):
        return None
    by_label = named.by is NamedBy.PARTLABEL
    there: Iterable[str | None]
    if node is not None and node.number is None:
        with os_errors(device.value):
            table = list_partitions(system.path(device.value))
        there = (item.label if by_label else item.uuid for item in table)
    else:
        known = known_partitions(system)
        on_it = (item for item in known if node is None or item.disk == node.number)
        there = (item.label if by_label else item.uuid for item in on_it)
    names = sorted({name for name in there if name})
    if not names:
        return f"no partition {'there' if node else 'here'} has a {named.by.value} that can be read"
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"there are {', '.join(names[:SHOWN])}{more}"


def _slot(name: str, slot_class: str, device: DeviceName, place: _Place, system: System) -> Slot:
    path, node = place.path, system.node(place.path)
    if node is None:
        raise SlotMissing(f"slot {name}: {device} went away")
    with os_errors(f"slot {name}: {path}"):
        whole, sector_size = _measured(path, node.number, system)
    region = place.length is not None
    length = whole if place.length is None else place.length
    if place.offset + length > whole or length == 0:
        raise SlotMissing(f"slot {name}: {path} has {whole} bytes, too few for {device}")
    if place.offset % sector_size or (length % sector_size and region):
        raise SlotMissing(
            f"slot {name}: {device} does not begin or end with a sector of {sector_size} bytes"
        )
    return Slot(
        name,
        slot_class,
        path,
        place.offset,
        length,
        is_region=region,
        number=node.number,
        sector_size=sector_size,
        read_only=_is_read_only(path, node.number, system),
    )


def _measured(path: Path, number: Number | None, system: System) -> tuple[int, int]:
    """Return length and logical sector size."""
    if number is not None and system.root != Path("/"):
        folder = folder_of(number, system) or Path("/nowhere")
        return sectors_in(folder / "size", system), 512
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        opened = Device(fd)
        return opened.length, opened.sector_size or 512
    finally:
        os.close(fd)


def _is_read_only(path: Path, number: Number | None, system: System) -> bool:
    if number is None:
        return not os.access(path, os.W_OK)
    folder = folder_of(number, system)
    return folder is not None and system.text(folder / "ro") == "1"


def _may_appear(device: DeviceName) -> bool:
    return device.by is not NamedBy.PATH or device.value.startswith("/dev/")


def _escaped(text: str) -> str:
    r"""Return a label as udev writes it in the name of a link: `root\\x20a`."""
    kept = "#+-.:=@_"  # systemd, src/shared/device-nodes.c and udev-util: utf-8 stays, too
    return "".join(
        char
        if (char.isascii() and (char.isalnum() or char in kept)) or ord(char) > 127
        else f"\\x{ord(char):02x}"
        for char in text
    )

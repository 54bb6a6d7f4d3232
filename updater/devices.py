# SPDX-License-Identifier: Apache-2.0
"""From a name in the configuration to a device on this system.

sysfs lists the partitions and mostly tells their labels; the disk's own table tells the rest, and
the links of udev what may not be read. A name that fits two partitions is refused, unless one of
them is on the disk that the root is on: an installer's stick, or a copy of the image on a loop
device, then changes nothing.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from fsprobe.device import Device
from images.durable import os_errors
from updater.block_devices import (
    base_disks,
    disk_of,
    folder_of,
    number_in,
    sectors_in,
)
from updater.device_names import DeviceName, NamedBy
from updater.errors import SlotMissing
from updater.hotplug import until_found
from updater.partitions import Partition, list_partitions
from updater.slots import Slot
from updater.system import Number, System
from updater.usage import root_devices

BY_LINK = {
    NamedBy.PARTLABEL: "/dev/disk/by-partlabel",
    NamedBy.PARTUUID: "/dev/disk/by-partuuid",
}

Table = Callable[[Path], tuple[Partition, ...]]


@dataclass(frozen=True, slots=True)
class _Known:
    """A partition as sysfs has it."""

    number: Number
    node: str
    disk: Number
    disk_node: str
    place: int
    label: str | None
    uuid: str | None


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
        SlotMissing: it is not there, fits two devices, or is shorter than its region.
        NotAccessible, DeviceFault: it is there and cannot be opened.
    """
    system = system or System()

    def look() -> Slot | None:
        path = _path_of(device, system)
        return None if path is None else _slot(name, slot_class, device, path, system)

    found = until_found(look, wait_s) if wait_s and _may_appear(device) else look()
    if found is None:
        after = f" after {wait_s:g} s" if wait_s and _may_appear(device) else ""
        raise SlotMissing(f"slot {name}: there is no {device}{after}")
    return found


def numbers_of(device: DeviceName, system: System) -> tuple[Number, ...]:
    """Return the numbers of the devices that a name fits, those of the root's disk alone if any.

    Raises:
        SlotMissing: never for want of a device: nothing is returned then.
    """
    if device.by is NamedBy.PATH:
        node = system.node(device.value)
        return () if node is None or node.number is None else (node.number,)
    fits = [item for item in _partitions(system) if _fits(item, device)]
    return tuple(item.number for item in _preferred(fits, system))


def _path_of(device: DeviceName, system: System) -> Path | None:
    """Return the node of a device or the path of a file; None while there is none.

    Raises:
        SlotMissing: there are two.
    """
    if device.by is NamedBy.PATH:
        return Path(device.value) if system.node(device.value) is not None else None
    fits = _preferred([item for item in _partitions(system) if _fits(item, device)], system)
    if len(fits) > 1:
        raise SlotMissing(
            f"{device} fits {' and '.join(item.node for item in fits)}",
            hint="give each partition a label of its own, or name them by PARTUUID=",
        )
    if fits:
        node = system.node(fits[0].node)
        return Path(fits[0].node) if node is not None and node.number == fits[0].number else None
    # What may not be read, or is no partition of the kernel's: udev may know it.
    link = f"{BY_LINK[device.by]}/{_escaped(device.value)}"
    return system.resolved(link) if system.node(link) is not None else None


def _preferred(fits: list[_Known], system: System) -> list[_Known]:
    """Return those on the disk of the root, if there are any."""
    if len(fits) < 2:
        return fits
    disks: set[Number] = set()
    for number in root_devices(system):
        disks |= base_disks(number, system)
    on_root = [item for item in fits if item.disk in disks]
    return on_root or fits


def _fits(item: _Known, device: DeviceName) -> bool:
    told = item.label if device.by is NamedBy.PARTLABEL else item.uuid
    return told == device.value


def _partitions(system: System) -> Iterator[_Known]:
    """Yield all partitions that the kernel has."""
    tables: dict[str, tuple[Partition, ...]] = {}
    for name in system.names("/sys/class/block"):
        folder = system.resolved(f"/sys/class/block/{name}")
        place = system.text(folder / "partition")
        number = number_in(folder, system)
        if place is None or number is None or not place.isdigit():
            continue
        facts = _uevent(folder, system)
        disk = disk_of(number, system)
        parent = folder_of(disk, system)
        disk_node = "/dev/" + (_uevent(parent, system).get("DEVNAME", "") if parent else "")
        label, uuid = facts.get("PARTNAME"), facts.get("PARTUUID", "").lower() or None
        if label is None or uuid is None:
            for listed in _table(disk_node, tables, system):
                if listed.number == int(place):
                    label, uuid = label or listed.label, uuid or listed.uuid
        node = "/dev/" + facts.get("DEVNAME", name)
        yield _Known(number, node, disk, disk_node, int(place), label, uuid)


def _table(
    disk_node: str, tables: dict[str, tuple[Partition, ...]], system: System
) -> tuple[Partition, ...]:
    if disk_node not in tables:
        tables[disk_node] = ()
        with suppress(OSError):  # no medium in the reader, or not for us to read
            tables[disk_node] = list_partitions(system.path(disk_node))
    return tables[disk_node]


def _uevent(folder: Path, system: System) -> dict[str, str]:
    lines = (system.text(folder / "uevent") or "").splitlines()
    return {name: value for name, _, value in (line.partition("=") for line in lines)}


def _slot(name: str, slot_class: str, device: DeviceName, path: Path, system: System) -> Slot:
    node = system.node(path)
    if node is None:
        raise SlotMissing(f"slot {name}: {device} went away")
    with os_errors(f"slot {name}: {path}"):
        whole, sector_size = _measured(path, node.number, system)
    region = device.length is not None
    length = whole if device.length is None else device.length
    if device.offset + length > whole or length == 0:
        raise SlotMissing(f"slot {name}: {path} has {whole} bytes, too few for {device}")
    if device.offset % sector_size or (length % sector_size and region):
        raise SlotMissing(
            f"slot {name}: {device} does not begin or end with a sector of {sector_size} bytes"
        )
    read_only = _is_read_only(path, node.number, system)
    return Slot(
        name,
        slot_class,
        path,
        device.offset,
        length,
        is_region=region,
        number=node.number,
        sector_size=sector_size,
        read_only=read_only,
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

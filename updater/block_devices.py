# SPDX-License-Identifier: Apache-2.0
"""Block devices and what they stand on: partition, loop device, mapping, disk.

Source: the kernel's Documentation/ABI/{stable,testing}/sysfs-block. Positions in sysfs are sectors
of 512 bytes, whatever the device's own are.

Two bytes are the same if some layer says so. A partition and a loop device map one to one, so their
bytes are known in every layer below (`own_extents`). A mapping or an array may lie anywhere on its
slaves, so all of these count as below it (`extents_below`), and none as the same: two logical
volumes of one partition have no byte in common.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias

from updater.system import Node, Number, System

SECTOR = 512
_ENDLESS = 1 << 63
_DEEPEST = 16
"""Layers; more than that is a loop in the tables."""

Base: TypeAlias = tuple[str, int, int]
"""`("device", major, minor)`, or `("file", device, inode)`."""


@dataclass(frozen=True, slots=True)
class Extent:
    """Bytes `start` to `end` of one device or file."""

    base: Base
    start: int = 0
    end: int = _ENDLESS

    def meets(self, other: Extent) -> bool:
        """Tell whether the two have a byte in common."""
        return self.base == other.base and self.start < other.end and other.start < self.end

    def part(self, offset: int, length: int) -> Extent:
        """Return a part of it."""
        start = self.start + offset
        return replace(self, start=start, end=min(self.end, start + length))


def folder_of(number: Number, system: System) -> Path | None:
    """Return a device's folder in sysfs; None if there is none."""
    name = f"/sys/dev/block/{number}"
    return system.resolved(name) if system.exists(name) else None


def number_in(folder: Path, system: System) -> Number | None:
    """Return the number that a folder of sysfs tells."""
    text = system.text(folder / "dev")
    try:
        return None if text is None else Number.parse(text)
    except ValueError:
        return None


def sectors_in(path: Path, system: System) -> int:
    """Return a count of sectors in bytes; 0 where there is none."""
    text = system.text(path) or ""
    return int(text) * SECTOR if text.isdigit() else 0


def disk_of(number: Number, system: System) -> Number:
    """Return the disk of a partition; any other device is its own disk."""
    folder = folder_of(number, system)
    if folder is None or system.text(folder / "partition") is None:
        return number
    return number_in(folder.parent, system) or number


def base_disks(number: Number, system: System) -> frozenset[Number]:
    """Return the disks that a device stands on in the end, through everything in between."""
    extents = (*own_extents(number, system), *extents_below(number, system))
    devices = {Number(each.base[1], each.base[2]) for each in extents if _is_device(each)}
    disks = {disk_of(device, system) for device in devices}
    return frozenset(disk for disk in disks if not _stands_on(disk, system))


def own_extents(number: Number, system: System) -> tuple[Extent, ...]:
    """Return the bytes of a device, in the coordinates of every layer that is known exactly."""
    return tuple(_own(Extent(("device", *number)), system, _DEEPEST))


def file_extents(path: Path, system: System) -> tuple[Extent, ...]:
    """Return the bytes of a regular file; nothing if there is none."""
    node = system.node(path)
    return () if node is None else (Extent(("file", *node.file)),)


def extents_below(number: Number, system: System) -> tuple[Extent, ...]:
    """Return all bytes that a device may lie on somewhere: the slaves of it and of what is below.

    What it maps to exactly is in `own_extents` and not here.
    """
    found: list[Extent] = []
    left = _slaves_of(own_extents(number, system), system)
    while left:
        extents = own_extents(left.pop(), system)
        if extents[0] not in found:
            found += extents
            left += _slaves_of(extents, system)
    return tuple(found)


def _slaves_of(extents: tuple[Extent, ...], system: System) -> list[Number]:
    return [
        slave
        for extent in extents
        if _is_device(extent)
        for slave in slaves(Number(extent.base[1], extent.base[2]), system)
    ]


def slaves(number: Number, system: System) -> list[Number]:
    """Return the devices that a mapping or an array is made of."""
    return list(_links(number, "slaves", system))


def holders(number: Number, system: System) -> list[Number]:
    """Return the mappings and arrays that are made of a device."""
    return list(_links(number, "holders", system))


def _links(number: Number, kind: str, system: System) -> Iterator[Number]:
    folder = folder_of(number, system)
    if folder is None:
        return
    for name in system.names(folder / kind):
        found = number_in(system.resolved(folder / kind / name), system)
        if found is not None:
            yield found


def _own(extent: Extent, system: System, deepest: int) -> Iterator[Extent]:
    yield extent
    if not _is_device(extent) or not deepest:
        return
    number = Number(extent.base[1], extent.base[2])
    folder = folder_of(number, system)
    if folder is None:
        return
    if system.text(folder / "partition") is not None:
        disk = number_in(folder.parent, system)
        if disk is not None:
            start = sectors_in(folder / "start", system)
            length = sectors_in(folder / "size", system)
            below = _moved(extent, ("device", *disk), start, length)
            yield from _own(below, system, deepest - 1)
        return
    for base, start, length in _backing(folder, system):
        yield from _own(_moved(extent, base, start, length), system, deepest - 1)


def _moved(extent: Extent, base: Base, start: int, length: int) -> Extent:
    """Return an extent in the coordinates of the layer below, `length` of which starts there."""
    return Extent(base, start + extent.start, start + min(extent.end, length))


def _backing(folder: Path, system: System) -> Iterator[tuple[Base, int, int]]:
    """Yield what a loop device shows: base, first byte, bytes.

    There are two where the path in sysfs leads to another file than the kernel has open: both count
    as in use, because one of them is.
    """
    name = system.text(folder / "loop/backing_file")
    if name is None:
        return
    offset = int(system.text(folder / "loop/offset") or "0")
    length = sectors_in(folder / "size", system)
    # The kernel appends this where the file has been removed under that name.
    named = system.node(name.removesuffix(" (deleted)")) if name else None
    bases = [_base_of(node) for node in (system.loop_node(folder.name), named) if node is not None]
    for base in dict.fromkeys(bases):
        yield base, offset, length


def _base_of(node: Node) -> Base:
    return ("file", *node.file) if node.number is None else ("device", *node.number)


def _is_device(extent: Extent) -> bool:
    return extent.base[0] == "device"


def _stands_on(number: Number, system: System) -> bool:
    folder = folder_of(number, system)
    return bool(slaves(number, system)) or (
        folder is not None and any(True for _ in _backing(folder, system))
    )

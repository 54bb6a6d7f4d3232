# SPDX-License-Identifier: Apache-2.0
"""The partitions that the kernel has, with what tells them apart: label and UUID.

Source: /sys/class/block/*/uevent, with PARTNAME, and PARTUUID from Linux 6.10 on; the disk's own
table tells the rest.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from updater.block_devices import disk_of, folder_of, number_in
from updater.device_names import DeviceName, NamedBy
from updater.partitions import Partition, list_partitions
from updater.system import Number, System


@dataclass(frozen=True, slots=True)
class KnownPartition:
    """A partition as the kernel has it.

    Attributes:
        node: its path in /dev.
        disk: of which it is a part.
        disk_node: the disk's path in /dev.
        place: in the table, from 1 on.
        label: in the table; None where it has none, or may not be read.
        uuid: its PARTUUID in lower case; None likewise.
    """

    number: Number
    node: str
    disk: Number
    disk_node: str
    place: int
    label: str | None
    uuid: str | None

    def fits(self, device: DeviceName) -> bool:
        """Tell whether a label or a UUID names this partition."""
        return fits(device, self.label, self.uuid)


def fits(device: DeviceName, label: str | None, uuid: str | None) -> bool:
    """Tell whether a name is this label, or this UUID."""
    return device.value == (label if device.by is NamedBy.PARTLABEL else uuid)


def known_partitions(system: System) -> Iterator[KnownPartition]:
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
        yield KnownPartition(number, node, disk, disk_node, int(place), label, uuid)


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

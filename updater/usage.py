# SPDX-License-Identifier: Apache-2.0
"""What this system uses: mounts, swap, and file systems over several devices.

Sources: proc(5), /proc/self/mountinfo and /proc/swaps; /sys/fs/btrfs/UUID/devices, because mounts
of Btrfs have numbers of their own that name no device.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from updater.block_devices import (
    Extent,
    extents_below,
    file_extents,
    holders,
    number_in,
    own_extents,
)
from updater.system import Number, System


@dataclass(frozen=True, slots=True)
class Mount:
    """One line of the mount table.

    Attributes:
        number: of the device; major 0 for file systems that have none, or more than one.
        root: which folder of the file system is mounted.
        point: where.
        options: of the file system, such as `lowerdir=`.
    """

    number: Number
    root: str
    point: str
    kind: str
    source: str
    options: str


@dataclass(frozen=True, slots=True)
class Use:
    """Something that must not be written to.

    Attributes:
        what: in words, such as `mounted on /`.
        extents: its bytes, in every layer that is known exactly.
        below: bytes that it may lie on somewhere.
    """

    what: str
    extents: tuple[Extent, ...]
    below: tuple[Extent, ...]


def mounts(system: System) -> tuple[Mount, ...]:
    """Return the mount table of this process; lines that cannot be read are left out."""
    found = []
    for line in (system.text("/proc/self/mountinfo") or "").splitlines():
        before, dash, after = line.partition(" - ")
        words, more = before.split(" "), after.split(" ")
        if not dash or len(words) < 6 or len(more) < 2:
            continue
        try:
            number = Number.parse(words[2])
        except ValueError:
            continue
        options = more[2] if len(more) > 2 else ""
        found.append(
            Mount(
                number,
                _unescaped(words[3]),
                _unescaped(words[4]),
                more[0],
                _unescaped(more[1]),
                _unescaped(options),
            )
        )
    return tuple(found)


def mount_of(path: str, table: tuple[Mount, ...]) -> Mount | None:
    """Return the mount that a path is on: of the longest point, the last one counts."""
    best = None
    for mount in table:
        under = path == mount.point or path.startswith(mount.point.rstrip("/") + "/")
        if under and (best is None or len(mount.point) >= len(best.point)):
            best = mount
    return best


def devices_of(mount: Mount, system: System) -> tuple[Number, ...]:
    """Return the devices of a mounted file system, as far as they can be told."""
    if mount.number.major:
        return (mount.number,)
    # Btrfs and bcachefs: the source is a device, or several with colons in between.
    found = []
    for part in mount.source.split(":"):
        node = system.node(part) if part.startswith("/") else None
        if node is not None and node.number is not None:
            found += [node.number, *_btrfs_siblings(node.number, system)]
    return tuple(dict.fromkeys(found))


def root_devices(system: System) -> tuple[Number, ...]:
    """Return the devices that `/` is on, through overlays as far as their folders can be seen."""
    table = mounts(system)
    found: list[Number] = []
    left = [mount for mount in (mount_of("/", table),) if mount is not None]
    seen: set[str] = set()
    while left:
        mount = left.pop()
        if mount.point in seen:
            continue
        seen.add(mount.point)
        found += devices_of(mount, system)
        if mount.kind == "overlay":
            left += _lower_mounts(mount, table)
    return tuple(dict.fromkeys(found))


def uses(system: System) -> Iterator[Use]:
    """Yield all that is mounted or swapped to."""
    seen: set[Number] = set()
    for mount in mounts(system):
        for number in devices_of(mount, system):
            if number not in seen:
                seen.add(number)
                yield _use(f"mounted on {mount.point}", number, system)
    for name in _swaps(system):
        node = system.node(name)
        if node is None:
            continue
        if node.number is None:
            yield Use(f"swap file {name}", file_extents(Path(name), system), ())
        elif node.number not in seen:
            seen.add(node.number)
            yield _use("swap", node.number, system)


def held_devices(system: System) -> Iterator[Use]:
    """Yield the devices that mappings and arrays are made of, whether or not these are in use."""
    for name in system.names("/sys/class/block"):
        number = number_in(system.resolved(f"/sys/class/block/{name}"), system)
        if number is not None and (found := holders(number, system)):
            what = f"held by device {', '.join(map(str, found))}"
            yield Use(what, own_extents(number, system), ())


def _lower_mounts(overlay: Mount, table: tuple[Mount, ...]) -> list[Mount]:
    """Return the mounts of an overlay's lower folders, as this process sees them."""
    others = tuple(mount for mount in table if mount is not overlay)
    found = []
    for option in overlay.options.split(","):
        name, _, value = option.partition("=")
        if name in ("lowerdir", "lowerdir+", "datadir+"):
            for folder in value.split(":"):
                mount = mount_of(folder, others) if folder.startswith("/") else None
                if mount is not None:
                    found.append(mount)
    return found


def _use(what: str, number: Number, system: System) -> Use:
    return Use(what, own_extents(number, system), extents_below(number, system))


def _btrfs_siblings(number: Number, system: System) -> list[Number]:
    """Return the other devices of the Btrfs that one device is part of."""
    for uuid in system.names("/sys/fs/btrfs"):
        folder = f"/sys/fs/btrfs/{uuid}/devices"
        links = [system.resolved(f"{folder}/{name}") for name in system.names(folder)]
        numbers = [found for link in links if (found := number_in(link, system)) is not None]
        if number in numbers:
            return numbers
    return []


def _swaps(system: System) -> list[str]:
    lines = (system.text("/proc/swaps") or "").splitlines()[1:]
    return [_unescaped(line.split()[0]) for line in lines if line.split()]


def _unescaped(text: str) -> str:
    r"""Undo `\040`: space, tab, newline and backslash in octal."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)

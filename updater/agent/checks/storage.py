# SPDX-License-Identifier: Apache-2.0
"""Where state and cache are: on what storage, with how much room, whole or damaged."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from images.errors import ImageError
from updater.agent.checks.finding import Finding, Patient, ok, problem, warning
from updater.block_devices import Extent, extents_below, own_extents
from updater.errors import StateNewer
from updater.slots import Slot, slot_extents
from updater.state_files import MAX_LENGTH, StateFiles
from updater.system import System
from updater.units import format_bytes
from updater.usage import Mount, devices_of, mount_of, mounts

STATE = "state"
CACHE = "cache"
METRICS = "metrics"

LEAST_ROOM = 2 * MAX_LENGTH
"""Two copies of the state, each as long as it may be."""

GOOD_ROOM = 16 << 20
"""The indexes of two slots with 8 GiB in chunks of 64 KiB: 40 bytes a chunk, and some more."""

IN_MEMORY = frozenset({"tmpfs", "ramfs", "devtmpfs"})


def check_place(patient: Patient) -> Iterator[Finding]:
    """See that the state outlives reboots and updates, and can be written."""
    folder = patient.config.state_folder
    yield from _place(STATE, folder, patient)
    found = room_for(folder, patient.system)
    if found is None:
        return
    free, inodes = found
    text = f"{format_bytes(free)} are free for {folder}"
    if free < LEAST_ROOM or not inodes:
        what = text if inodes else f"no file can be made in {folder}: no inodes are left"
        yield problem(STATE, what, "remove what is not needed there")
    elif free < GOOD_ROOM:
        yield warning(STATE, f"{text}, few for indexes", "16 MiB do for two slots of 8 GiB")
    else:
        yield ok(STATE, text)


def check_copies(patient: Patient) -> Iterator[Finding]:
    """Read both copies of the state, and name what is lost with them."""
    folder = patient.config.state_folder
    files = StateFiles(folder)
    try:
        state = files.load()
    except StateNewer as error:
        yield problem(STATE, str(error), error.hint)
        return
    if files.lost:
        yield problem(
            STATE,
            "; ".join(files.damage),
            "`caflip doctor --repair` starts a new one: which releases are too old, and keys that"
            " were rotated, are forgotten; slots and their content stay",
        )
        return
    patient.state = state
    missing = [path for path in copies_in(folder) if not path.exists()]
    for text in files.damage:
        yield warning(STATE, text, "the next update writes it anew; so does `--repair`")
    if state.generation > 1 and missing:
        yield warning(STATE, f"{missing[0]} is missing", "`--repair` writes it anew")
    if not state.generation:
        yield ok(STATE, f"there is none in {folder} yet; the first update makes it")
    elif not files.damage and not (state.generation > 1 and missing):
        yield ok(STATE, f"generation {state.generation} can be believed")


def check_cache(patient: Patient) -> Iterator[Finding]:
    """See that the cache can be written and has room."""
    folder = patient.config.stores.cache
    if folder is None:
        yield ok(CACHE, "none is configured: `caflip fetch` needs one, `caflip update` does not")
        return
    yield from _place(CACHE, folder, patient)
    found = room_for(folder, patient.system)
    if found is not None:
        free, inodes = found
        text = f"{format_bytes(free)} are free for {folder}"
        if free < GOOD_ROOM or not inodes:
            yield warning(CACHE, text, "make room: chunks that do not fit are fetched again")
        else:
            yield ok(CACHE, text)


def check_metrics(patient: Patient) -> Iterator[Finding]:
    """See that the file of metrics can be replaced."""
    path = patient.config.metrics.file
    if path is None:
        return
    folder = patient.system.path(path.parent)
    if folder.is_dir() and os.access(folder, os.W_OK | os.X_OK):
        yield ok(METRICS, f"{path} can be written")
    else:
        yield warning(METRICS, f"{path.parent} cannot be written", "make the folder, in the image")


def copies_in(folder: Path) -> tuple[Path, Path]:
    """Return where the two copies of the state are."""
    return folder / "state-0.json", folder / "state-1.json"


def slots_below(path: Path, slots: tuple[Slot, ...], system: System) -> tuple[Slot, ...]:
    """Return the slots whose bytes a folder is in."""
    mount = _mount_below(path, system)
    if mount is None:
        return ()
    extents: list[Extent] = []
    for number in devices_of(mount, system):
        extents += [*own_extents(number, system), *extents_below(number, system)]
    return tuple(
        slot
        for slot in slots
        if any(mine.meets(other) for mine in slot_extents(slot, system) for other in extents)
    )


def room_for(folder: Path, system: System) -> tuple[int, int] | None:
    """Return the bytes and inodes that are left for a folder; None if that cannot be told."""
    there = _existing(folder, system)
    if there is None:
        return None
    found = os.statvfs(system.path(there))
    # File systems that make inodes as they are needed, such as Btrfs, count none at all.
    return found.f_bavail * found.f_frsize, found.f_favail if found.f_files else 1


def _place(subject: str, folder: Path, patient: Patient) -> Iterator[Finding]:
    system = patient.system
    there = _existing(folder, system)
    if there is None or not system.path(there).is_dir():
        yield problem(subject, f"{folder} cannot be made: {there} is no folder")
        return
    if not os.access(system.path(there), os.W_OK | os.X_OK):
        what = folder if there == folder else f"{there}, where {folder} is to be made,"
        yield problem(
            subject,
            f"{what} cannot be written",
            "run as root; is the file system mounted read-only?",
        )
    mount = _mount_below(there, system)
    if patient.is_image or mount is None:
        return  # what this machine has mounted where says nothing of the device
    if mount.kind in IN_MEMORY:
        remedy = "mount storage that both slots share, and name it"
        told = f"{folder} is in memory ({mount.kind} on {mount.point}) and lost with every reboot"
        yield problem(subject, told, remedy) if subject == STATE else warning(subject, told, remedy)
        return
    try:
        inside = slots_below(there, patient.slots, system)
    except (ImageError, OSError) as error:
        yield warning(subject, f"what {folder} is on cannot be told: {error}")
        return
    for slot in inside:
        told = f"{folder} is in slot {slot}, which updates overwrite and the other one does not see"
        remedy = "put it on a partition of its own, and mount that in both slots"
        yield problem(subject, told, remedy) if subject == STATE else warning(subject, told, remedy)
    if not inside:
        yield ok(subject, f"{folder} is on {mount.source} ({mount.kind}), in none of the slots")


def _existing(folder: Path, system: System) -> Path | None:
    """Return a folder or the nearest one above it that is there, with links followed."""
    for path in (folder, *folder.parents):
        if system.exists(path):
            return system.resolved(path)
    return None


def _mount_below(path: Path, system: System) -> Mount | None:
    """Return the mount that a folder is on; of an overlay, that of the folder it writes to."""
    table = mounts(system)
    found = mount_of(str(path), table)
    for _ in range(len(table)):
        if found is None or found.kind != "overlay":
            return found
        upper = next(
            (
                option.removeprefix("upperdir=")
                for option in found.options.split(",")
                if option.startswith("upperdir=")
            ),
            None,
        )
        others = tuple(mount for mount in table if mount is not found)
        below = None if upper is None else mount_of(upper, others)
        if below is None:
            return found
        table, found = others, below
    return found

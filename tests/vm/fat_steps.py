# SPDX-License-Identifier: Apache-2.0
"""Steps of the boot environments that live on FAT. Runs in a guest, and imports `boot` alone.

    python3 -m tests.vm.fat_steps DEVICE MOUNTPOINT STEPS FLAW

After each step a mark is written to the device, past the end of the file system and past the page
cache, without a flush: it stands in the log of the device's writes behind what the step wrote, and
makes none of that durable.
"""

from __future__ import annotations

import enum
import json
import mmap
import os
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from boot import storage
from boot.bootloader import Bootloader
from boot.raspberrypi import RaspberryPi
from boot.systemd_boot import SystemdBoot

SLOTS = ("slot-a", "slot-b")
AUTOBOOT = "autoboot.txt"
TRIES = 3
FILE_SYSTEM = 36 << 20
"""Bytes: with clusters of a sector there are enough of them for mtools to take it for FAT32."""
MARK = 4096
"""Bytes behind the file system."""
_fsync = os.fsync


class Subject(enum.Enum):
    """One boot environment; all are on one file system.

    Values: the folder that stands for the root of an ESP.
    """

    SMALL = "."
    """Entries in a folder of one sector."""
    CROWDED = "crowded"
    """Among entries of other systems: a new name is in another sector, or in two."""
    UNIFIED = "unified"
    """Kernel images of several clusters."""
    AUTOBOOT = AUTOBOOT


class Flaw(enum.Enum):
    """What can be broken in the backends."""

    NONE = "none"
    NO_FSYNC = "no-fsync"
    FOLDER_ONLY = "folder-only"
    """The folder is flushed after a rename, and the file that was renamed is not."""
    TRUNCATED = "truncated"
    """A file is emptied and written again, not replaced."""


@dataclass(frozen=True, slots=True)
class Told:
    """What the backend says after a step.

    Attributes:
        slots: name, state and tries of each.
        variables: files that are not on the medium: the firmware's variables, or the boot's id.
        names: of the files of the slots, sorted; none for autoboot.txt.
        text: of autoboot.txt.
    """

    slots: list[list[str | int | None]]
    variables: dict[str, str]
    names: list[str]
    text: str


def opened(subject: Subject, root: Path, variables: Path) -> Bootloader:
    """Return the backend of an environment.

    Args:
        subject: which one.
        root: where the file system is, or a copy of what it holds.
        variables: folder of what is not on it.
    """
    if subject is not Subject.AUTOBOOT:
        return SystemdBoot(root / subject.value, SLOTS, variables)
    return RaspberryPi(
        SLOTS,
        partitions={"slot-a": 2, "slot-b": 3},
        autoboot=root / AUTOBOOT,
        device_tree=Path("/none"),
        boot_id=variables / "boot-id",
        command_line=Path("/dev/null"),
    )


def entries_of(subject: Subject, root: Path) -> Path:
    """Return the folder whose names count the tries."""
    folder = "EFI/Linux" if subject is Subject.UNIFIED else "loader/entries"
    return root / subject.value / folder


def slot_files(subject: Subject, root: Path) -> list[Path]:
    """List the files of the slots, those that a cut left behind with them."""
    if subject is Subject.AUTOBOOT:
        return []
    return sorted(
        path
        for path in entries_of(subject, root).iterdir()
        if path.name.startswith(SLOTS) and path.suffix in (".conf", ".efi")
    )


def told(subject: Subject, root: Path, variables: Path) -> Told:
    """Return what there is to say of an environment."""
    slots = opened(subject, root, variables).read().slots
    text = (root / AUTOBOOT).read_text() if subject is Subject.AUTOBOOT else ""
    return Told(
        [[slot.name, slot.state.value, slot.tries_left] for slot in slots],
        {path.name: path.read_bytes().hex() for path in variables.iterdir()},
        [path.name for path in slot_files(subject, root)],
        text,
    )


def step(number: int, subject: Subject, root: Path, variables: Path) -> None:
    """Take a step: each slot in turn is overwritten, tried, counted down, and proves itself."""
    backend = opened(subject, root, variables)
    slot = SLOTS[1 - (number - 1) // 4 % 2]
    match (number - 1) % 4:
        case 0:
            backend.mark_bad(slot)
        case 1:
            backend.set_primary(slot, TRIES)
        case 2:
            start(subject, slot, root, variables)
        case 3:
            backend.mark_good(slot)


def is_callers(number: int) -> bool:
    """Tell whether it is the boot loader's step: its own rename is not caflip's to make durable."""
    return (number - 1) % 4 == 2


def start(subject: Subject, slot: str, root: Path, variables: Path) -> None:
    """Do what boot loader and firmware do when they start a slot on trial."""
    if subject is Subject.AUTOBOOT:
        (variables / "boot-id").write_text("another")
        return
    (path,) = (path for path in slot_files(subject, root) if path.name.startswith(f"{slot}+"))
    path = path.rename(path.with_name(f"{slot}+{TRIES - 1}-1{path.suffix}"))
    # sync(2) would write all of it, and does not flush the disk: FAT has no part in that.
    for place in (path, path.parent):
        descriptor = os.open(place, os.O_RDONLY)
        _fsync(descriptor)
        os.close(descriptor)


def prepare(subject: Subject, variables: Path) -> None:
    """Make what is not on the medium: the firmware names slot A, and Linux was started."""
    variables.mkdir(parents=True)
    if subject is Subject.AUTOBOOT:
        (variables / "boot-id").write_text("one")


def _break(flaw: Flaw) -> None:
    def folder_only(path: Path, new: Path) -> None:
        os.rename(path, new)
        storage.sync_folder(path.parent)

    def truncated(path: Path, data: bytes) -> None:
        path.write_bytes(data)
        storage.overwrite(path, 0, data)

    import boot.raspberrypi
    import boot.systemd_boot

    match flaw:
        case Flaw.NO_FSYNC:
            os.fsync = lambda fd: None
        case Flaw.FOLDER_ONLY:
            boot.systemd_boot.rename = folder_only  # type: ignore[attr-defined]
        case Flaw.TRUNCATED:
            boot.raspberrypi.replace_file = truncated  # type: ignore[attr-defined]


def main(device: str, root: Path, steps: int, flaw: Flaw) -> None:
    """Mount the device, take the steps, and print a line for each."""
    variables = Path(f"/tmp/variables-{flaw.value}")
    root.mkdir()
    subprocess.run(["mount", "-t", "vfat", device, root], check=True)
    for subject in Subject:
        prepare(subject, variables / subject.name)
        if subject is not Subject.AUTOBOOT:
            opened(subject, root, variables / subject.name).mark_good(SLOTS[0])
    _break(flaw)
    raw = os.open(device, os.O_WRONLY | os.O_DIRECT)
    # O_DIRECT wants memory on a page of its own.
    mark = mmap.mmap(-1, MARK)
    for number in range(steps + 1):
        for subject in Subject:
            if number:
                step(number, subject, root, variables / subject.name)
            line = {"step": number, "subject": subject.name}
            mark[:] = json.dumps(line).encode().ljust(MARK, b"\0")
            os.pwrite(raw, mark, FILE_SYSTEM)
            print(json.dumps(line | asdict(told(subject, root, variables / subject.name))))
    os.close(raw)
    subprocess.run(["umount", root], check=True)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), Flaw(sys.argv[4]))

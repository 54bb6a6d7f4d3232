# SPDX-License-Identifier: Apache-2.0
"""What two readers of FAT that are not the kernel find in an image: mtools and GRUB."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.capabilities import require_tool
from tests.vm.fat_recording import KERNEL
from tests.vm.fat_steps import AUTOBOOT, SLOTS, Subject, entries_of
from tests.vm.programs import run

_READ_S = 60.0


def read_with_mtools(image: Path, folder: Path) -> None:
    """Copy all that is in an image to a new folder, with mtools."""
    require_tool("mcopy")
    folder.mkdir()
    run("mcopy", "-s", "-n", "-m", "-i", image, "::/*", folder)


def read_with_grub(image: Path, folder: Path) -> None:
    """Copy what belongs to the slots to a new folder, with GRUB's own code."""
    require_tool("grub-fstest")
    folder.mkdir()
    for subject in Subject:
        if subject is Subject.AUTOBOOT:
            (folder / AUTOBOOT).write_bytes(_grub(image, "cat", f"/{AUTOBOOT}"))
            continue
        into = entries_of(subject, folder)
        into.mkdir(parents=True)
        (folder / subject.value / KERNEL).touch()
        place = f"/{into.relative_to(folder)}"
        for name in _grub(image, "ls", f"{place}/").decode().split():
            if name.startswith(SLOTS):
                (into / name).write_bytes(_grub(image, "cat", f"{place}/{name}"))


def _grub(image: Path, verb: str, path: str) -> bytes:
    done = subprocess.run(
        ["grub-fstest", image, verb, f"(loop0){path}"], capture_output=True, timeout=_READ_S
    )
    assert done.returncode == 0, f"{verb} {path}: {done.stderr.decode()}"
    return done.stdout


def contents(folder: Path) -> dict[str, bytes]:
    """Return the files below a folder by path."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }

# SPDX-License-Identifier: Apache-2.0
"""The state and GRUB's environment on a real ext4, after crashes.

An agent's state is saved and GRUB's environment changed, in turn, while each write to the medium
is logged. From that log crash states are made. In each the kernel mounts the file system, which
replays its journal, and reads the state; GRUB, which replays none, reads the environment. Either
has to say what the last step that had ended says, or the step after it.

    python -m tests.vm.state_crashes N
"""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from boot.grub import Grub, create_environment
from tests.capabilities import require_tool
from tests.loops import loop_device, mounted, run
from tests.vm.crash_points import CrashPoint, crash_command, ended
from tests.vm.write_log import Entry, count_entries, logged, read_entries
from updater.state import State
from updater.state_files import StateFiles

STEPS = 24
_LENGTH = 16 << 20  # of the file system: small, since it is copied for each crash
_NOW = datetime(2026, 11, 5, 12, tzinfo=UTC)
_ENVIRONMENT = "grubenv"
_STATE = "state"
_MOST_TRIES = 7  # one digit


@dataclass(frozen=True, slots=True)
class Recording:
    """What was written, in order.

    Attributes:
        image: as it was before.
        entries: requests since.
        saved: how many entries there were when the state had been saved for the n-th time.
        changed: the same for the environment.
    """

    image: Path
    entries: Sequence[Entry]
    saved: Sequence[int]
    changed: Sequence[int]


def record(folder: Path) -> Recording:
    """Make a file system in a new folder, and save state and environment on it `STEPS` times."""
    require_tool("mkfs.ext4")
    folder.mkdir()
    image, before, mount_point = folder / "image", folder / "before", folder / "mnt"
    with image.open("wb") as file:
        file.truncate(_LENGTH)
    run("mkfs.ext4", "-q", "-O", "^metadata_csum", image)  # see "State" in docs/architecture.md
    with mounted(image, mount_point) as at:
        create_environment(at / _ENVIRONMENT, ("A", "B"), "A")
    shutil.copyfile(image, before)
    saved, changed = [], []
    with (
        logged(image, folder) as (export, log),
        loop_device(export) as device,
        mounted(device, mount_point) as at,
    ):
        files, grub, state = StateFiles(at / _STATE), Grub(at / _ENVIRONMENT, ("A", "B")), State()
        for step in range(1, STEPS + 1):
            state = files.save(replace(state, highest_sequence=step), _NOW)
            saved.append(count_entries(log))
            grub.set_primary("B", tries_of(step))
            changed.append(count_entries(log))
        entries = read_entries(log)
    return Recording(before, entries, saved, changed)


def tries_of(step: int) -> int:
    """Return the tries of slot B after a step; 0 before the first."""
    return (step - 1) % _MOST_TRIES + 1 if step else 0


def crash_once(recording: Recording, folder: Path, chance: random.Random) -> int:
    """Make one crash state and look at it; return how many bytes of the cache were lost.

    Raises:
        AssertionError: something cannot be read, or is older than it may be.
    """
    cut = CrashPoint.drawn(range(len(recording.entries) + 1), chance)
    image = folder / "crashed"
    # A new file each time: the kernel lets go of a loop device when it likes, and mount(8) takes
    # the one that still stands for a file, with the pages of what was in it before.
    image.unlink(missing_ok=True)
    shutil.copyfile(recording.image, image)
    loss = cut.apply(image, recording.entries)

    (folder / _ENVIRONMENT).write_bytes(_as_grub_reads(image, _ENVIRONMENT))
    done = ended(recording.changed, cut.point)
    left = Grub(folder / _ENVIRONMENT, ("A", "B")).read().slot("B").tries_left
    assert (left or 0) in (tries_of(done), tries_of(done + 1)), f"{left} tries {cut}"

    with mounted(image, folder / "crashed-mnt") as at:
        files = StateFiles(at / _STATE)
        state = files.load()
    done = ended(recording.saved, cut.point)
    assert not files.lost, f"{files.damage} {cut}"
    assert (state.highest_sequence or 0) in (done, done + 1), f"{state.highest_sequence} {cut}"
    return loss.lost


def _as_grub_reads(image: Path, name: str) -> bytes:
    """Read a file with GRUB's own code."""
    require_tool("grub-fstest")
    done = subprocess.run(
        ["grub-fstest", image, "cat", f"(loop0)/{name}"], capture_output=True, timeout=60
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def crashes(count: int, seed: int) -> int:
    """Record once and crash `count` times; return how many bytes of caches were lost in all.

    Raises:
        AssertionError: see `crash_once`.
    """
    chance = random.Random(seed)
    # In memory: each mount flushes, and a disk takes its time for that.
    with TemporaryDirectory(prefix="crashes-", dir="/dev/shm") as folder:
        recording = record(Path(folder) / "recording")
        return sum(crash_once(recording, Path(folder), chance) for _ in range(count))


if __name__ == "__main__":
    sys.exit(crash_command("tests.vm.state_crashes", crashes))

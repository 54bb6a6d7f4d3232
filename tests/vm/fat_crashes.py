# SPDX-License-Identifier: Apache-2.0
"""The boot environments that live on FAT, after crashes: systemd-boot's entries, autoboot.txt.

A guest's kernel writes them, step by step, while each request to the medium is logged. From that
log crash states are made. Each is read by mtools, by GRUB's code, and by the kernel of a guest that
mounts it as a device would. All have to find what the last step that had ended left, or the step
after it, and something whole that boots; Linux and mtools have to find the very same files. The
guest then goes on with the device's life: both slots have to be good at the end.

    python -m tests.vm.fat_crashes N
"""

from __future__ import annotations

import base64
import json
import random
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.vm.architecture import Architecture
from tests.vm.crash_points import CrashPoint, crash_command, ended
from tests.vm.devices import direct, factory_disk
from tests.vm.disk import copy_data, copy_disk
from tests.vm.fat_judge import wrong_after, wrong_in
from tests.vm.fat_readers import contents, read_with_grub, read_with_mtools
from tests.vm.fat_recording import RUN, Recording, put_program, record
from tests.vm.fat_steps import FILE_SYSTEM, Subject
from tests.vm.machine import started
from tests.vm.programs import ProgramFailed

BATCH = 250
"""File systems in one guest."""
USED = 20
"""Of so many crash states the guest uses one, and all where one file has two names."""
_JOB_S = 900.0


@dataclass(frozen=True, slots=True)
class State:
    """A crash state.

    Attributes:
        cut: how it came about.
        lost: bytes.
        found: what mtools read, by path; None where it could not.
        wrong: in words, with who found it.
    """

    cut: CrashPoint
    lost: int
    found: dict[str, bytes] | None
    wrong: list[str]


def crash_once(recording: Recording, folder: Path, cut: CrashPoint) -> State:
    """Make a crash state in `folder / "crashed"`, and read it with mtools and GRUB."""
    image = folder / "crashed"
    copy_disk(recording.image, image)
    lost = cut.apply(image, recording.entries).lost
    found, wrong = None, []
    for reader in (read_with_mtools, read_with_grub):
        view = folder / "view"
        try:
            reader(image, view)
            wrong += [f"{reader.__name__}: {what}" for what in wrong_in(view, recording, cut.point)]
            found = contents(view) if reader is read_with_mtools else found
        except (AssertionError, ProgramFailed) as error:
            wrong.append(f"{reader.__name__}: {error}")
        finally:
            shutil.rmtree(view)
    return State(cut, lost, found, wrong)


def crash_batch(recording: Recording, folder: Path, cuts: Sequence[CrashPoint]) -> list[State]:
    """Make crash states, and look at each with all three readers."""
    batch, jobs = folder / "batch", folder / "jobs"
    states = []
    with batch.open("wb") as file:
        file.truncate(len(cuts) * FILE_SYSTEM)
    for number, cut in enumerate(cuts):
        states.append(crash_once(recording, folder, cut))
        copy_data(folder / "crashed", batch, number * FILE_SYSTEM)
    used = [
        _variables(recording, state.cut) if n % USED == 0 or _has_two_names(state) else None
        for n, state in enumerate(states)
    ]
    text = json.dumps(used).encode()
    jobs.write_bytes(text.ljust(-(-len(text) // 4096) * 4096, b"\0"))
    _see_in_kernel(recording, folder, batch, jobs, states)
    return states


def _has_two_names(state: State) -> bool:
    """Tell whether a slot has two files, none of them empty."""
    slots = [
        path.partition("slot-")[0] + path.partition("slot-")[2][0]
        for path, content in (state.found or {}).items()
        if "slot-" in path and content
    ]
    return len(set(slots)) < len(slots)


def _variables(recording: Recording, cut: CrashPoint) -> dict[str, dict[str, str]]:
    """Return what the firmware says after the last step that ended."""
    return {
        subject.name: recording.told[subject][
            ended(recording.ends[subject], cut.point) - 1
        ].variables
        for subject in Subject
    }


def _see_in_kernel(
    recording: Recording, folder: Path, batch: Path, jobs: Path, states: Sequence[State]
) -> None:
    root = factory_disk(folder, Architecture.ARM64, both=False)
    with started(direct(root, batch, jobs), folder / "console") as machine:
        guest = machine.wait_up()
        for name in ("fat_steps", "fat_mounts"):
            put_program(guest, name)
        output = guest.run(f"{RUN}fat_mounts /dev/vda /dev/vdb", _JOB_S)
    root.unlink()
    known: dict[str, bytes] = {}
    for state, line in zip(states, map(json.loads, output.splitlines()), strict=True):
        known |= {name: base64.b64decode(data) for name, data in line["contents"].items()}
        if "failed" in line:
            state.wrong.append(f"Linux: {line['failed']}")
            continue
        found = _view(line["found"], known, folder / "view")
        wrong = wrong_in(folder / "view", recording, state.cut.point)
        state.wrong.extend(f"Linux: {what}" for what in wrong)
        if state.found is not None and found != state.found:
            names = sorted(path for path, _ in found.items() ^ state.found.items())
            state.wrong.append(f"Linux and mtools do not agree on {sorted(set(names))}")
        if "left" in line:
            _view(line["left"], known, folder / "view")
            wrong = wrong_after(folder / "view", recording, line["told"])
            state.wrong.extend(f"Linux, later: {what}" for what in wrong)
    shutil.rmtree(folder / "view", ignore_errors=True)


def _view(names: dict[str, str], known: dict[str, bytes], folder: Path) -> dict[str, bytes]:
    """Put files where a judge looks; those that could not be read are missing."""
    shutil.rmtree(folder, ignore_errors=True)
    found = {path: known[digest] for path, digest in names.items() if digest in known}
    for path, data in found.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return found


def crash_states(recording: Recording, folder: Path, count: int, seed: int) -> list[State]:
    """Make so many crash states of a recording, and look at them."""
    chance = random.Random(seed)
    cuts = [CrashPoint.drawn(recording.points, chance) for _ in range(count)]
    states = []
    for start in range(0, count, BATCH):
        states += crash_batch(recording, folder, cuts[start : start + BATCH])
    return states


def crashes(count: int, seed: int) -> int:
    """Record once and crash `count` times; return how many bytes of caches were lost in all.

    Raises:
        AssertionError: something is not as it has to be.
    """
    # In memory: a disk takes its time for each flush.
    with TemporaryDirectory(prefix="crashes-", dir="/dev/shm") as name:
        folder = Path(name)
        (recording,) = record(folder / "recording").values()
        states = crash_states(recording, folder, count, seed)
    wrong = [f"{state.cut}: {state.wrong}" for state in states if state.wrong]
    assert not wrong, f"{len(wrong)} of {count}:\n" + "\n".join(wrong[:10])
    return sum(state.lost for state in states)


if __name__ == "__main__":
    sys.exit(crash_command("tests.vm.fat_crashes", crashes))

# SPDX-License-Identifier: Apache-2.0
"""What a device that starts from a FAT file system after a crash has to find there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from boot.errors import BootError
from tests.vm.crash_points import ended
from tests.vm.fat_recording import Recording
from tests.vm.fat_steps import AUTOBOOT, SLOTS, Subject, Told, opened, slot_files


def wrong_in(root: Path, recording: Recording, point: int) -> list[str]:
    """Return, in words, what must not be; see `_wrong_entries` and `_wrong_autoboot`.

    Args:
        root: what a reader found on the file system.
        recording: of what was written to it.
        point: after how many requests the power went.
    """
    wrong = []
    for subject in Subject:
        done = ended(recording.ends[subject], point) - 1
        legal = recording.told[subject][done : done + 2]
        judge = _wrong_autoboot if subject is Subject.AUTOBOOT else _wrong_entries
        try:
            found = judge(subject, root, recording, legal)
        except (BootError, OSError) as error:
            found = [f"cannot be read: {error}"]
        wrong += [f"{subject.name}, after {done} steps: {what}" for what in found]
    return wrong


def _wrong_autoboot(
    subject: Subject, root: Path, recording: Recording, legal: Sequence[Told]
) -> list[str]:
    """It says what it said after the last step that ended, or after the next one."""
    found = (root / AUTOBOOT).read_text()
    return [] if found in [one.text for one in legal] else [f"it says {found!r}"]


def _wrong_entries(
    subject: Subject, root: Path, recording: Recording, legal: Sequence[Told]
) -> list[str]:
    """Each slot has a whole entry, in the state after either step; what boots is one of them.

    The firmware's variables are those of the last step that ended: within the next one they are
    written when the entry has been renamed, at the end. Beside an entry there may be another name
    for it, or an empty file, that the cut left: systemd-boot passes over what names no kernel.
    """
    with TemporaryDirectory() as folder:
        for name, data in legal[0].variables.items():
            (Path(folder) / name).write_bytes(bytes.fromhex(data))
        state = opened(subject, root, Path(folder)).read()
    wrong = []
    files = {path.name: path.read_bytes() for path in slot_files(subject, root)}
    for number, slot in enumerate(SLOTS):
        own = [name for name in files if name.startswith(slot)]
        names = {name for one in legal for name in one.names if name.startswith(slot)}
        if not set(own) <= names:
            wrong.append(f"{slot} has the names {own}")
        contents = {files[name] for name in own} - {b""}
        if contents != {recording.files[subject, slot]}:
            wrong.append(f"{slot} has no whole entry in {own}")
        found = state.slots[number]
        if [found.name, found.state.value, found.tries_left] not in [
            one.slots[number] for one in legal
        ]:
            wrong.append(f"{slot} is {found.state.value}, {found.tries_left} tries left")
    if state.next not in SLOTS:
        wrong.append(f"{state.next} boots: {state.warnings}")
    return wrong


def wrong_after(root: Path, recording: Recording, told: dict[str, Any]) -> list[str]:
    """Return, in words, what must not be when both slots have proved themselves after a crash.

    Args:
        root: what is on the file system.
        recording: of what was written before the crash.
        told: state of the slots and what boots, by the name of an environment.
    """
    wrong = []
    for subject in Subject:
        slots, boots = told[subject.name]
        if slots != [[slot, "good", None] for slot in SLOTS] or boots not in SLOTS:
            wrong.append(f"{subject.name}: {slots}, {boots} boots")
        files = {path.name: path.read_bytes() for path in slot_files(subject, root)}
        for slot in SLOTS if files else ():
            whole = recording.files[subject, slot]
            own = {name: data for name, data in files.items() if name.startswith(slot)}
            if list(own.values()) != [whole]:
                wrong.append(f"{subject.name}: {slot} has {list(own)}, or not whole")
    return wrong

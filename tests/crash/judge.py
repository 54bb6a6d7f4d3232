# SPDX-License-Identifier: Apache-2.0
"""What a state is worth: what boots by the bootloader's own format, whether that is whole, what is
remembered, and whether the next run of the agent ends with the update done.

The device is made anew in a folder for each state; only what differs is written.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from boot.bootloader import BootState, SlotState
from boot.errors import BootError
from images.errors import ImageError
from images.reading import BLOCK
from tests.crash.media import Medium, Write
from tests.crash.recorder import replayed
from tests.crash.rig import Recording, Rig
from tests.crash.states import Crash
from updater.agent.install import Outcome, UpdateReport, update
from updater.agent.machine import Machine
from updater.agent.proving import prove
from updater.errors import GivenUp
from updater.health import Health
from updater.state import Content, State
from updater.state_files import StateFiles

SLOT_FILES = {"A": "slot-a.img", "B": "slot-b.img"}
COPIES = ("state/state-0.json", "state/state-1.json")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found in one state.

    Attributes:
        wrong: in words; empty if all holds.
        boots: the slot, None for none.
        content: of slot B: `old`, `new` or `mixed`.
        then: what the next run did; empty where none was made.
        written_again: bytes of blocks that the next run wrote although they were right.
        fetched_again: bytes that it fetched although slot A or B had them, compressed.
    """

    wrong: tuple[str, ...]
    boots: str | None
    content: str
    then: str = ""
    written_again: int = 0
    fetched_again: int = 0


class Judge:
    """Judges the states of one recording."""

    def __init__(self, recording: Recording, folder: Path) -> None:
        """Args: `folder` is for the device that is made anew; it is not there."""
        self._recording = recording
        self._rig = Rig(folder, recording.rig.loader, recording.rig.channel)
        folder.mkdir()
        self._rig.configure()
        self._rig.boot_id.write_text("another")
        self._there: dict[str, bytes] = {}
        self._boots: dict[object, BootState | str] = {}
        self._states: dict[object, tuple[State, bool]] = {}
        self._old, self._running, self._new = recording.rig.channel.images
        (image,) = recording.candidate.images.values()
        self._chunks = [
            (start, self._new[start:end], chunk) for start, end, chunk in image.index.chunks()
        ]
        self._elsewhere = {
            chunk for _, want, chunk in self._chunks if want in self._running or not any(want)
        }

    def judge(self, crash: Crash, *, run_next: bool) -> Verdict:
        """Look at a state; `run_next` makes the device go on from it, too."""
        files = crash.files()
        boot = self._boot(files)
        content = self._content(files)
        wrong = self._wrong_slots(files, boot, content)
        wrong += self._wrong_state(files, crash.point.saved, content)
        if isinstance(boot, str):
            return Verdict(tuple(wrong), None, content)
        if wrong or not run_next:
            return Verdict(tuple(wrong), boot.next, content)
        return self._go_on(files, boot, content)

    def _boot(self, files: Mapping[str, bytes]) -> BootState | str:
        """Read the environment as the bootloader's backend does; a word where it cannot."""
        known = {p: c for p, c in files.items() if p.startswith(("env/", "efivars/"))}
        key = tuple(sorted(known.items()))
        if key not in self._boots:
            self._put({p: c for p, c in self._there.items() if p not in self._boot_files()} | known)
            try:
                self._boots[key] = self._rig.loader.open(self._rig.folder).read()
            except BootError as error:
                self._boots[key] = str(error)
        return self._boots[key]

    def _boot_files(self) -> list[str]:
        return [path for path in self._there if path.startswith(("env/", "efivars/"))]

    def _content(self, files: Mapping[str, bytes]) -> str:
        found = files["slot-b.img"]
        return "old" if found == self._old else "new" if found == self._new else "mixed"

    def _wrong_slots(
        self, files: Mapping[str, bytes], boot: BootState | str, content: str
    ) -> list[str]:
        if isinstance(boot, str):
            return [f"the environment cannot be read: {boot}"]
        wrong = []
        if boot.next is None:
            wrong.append("nothing boots")
        if boot.slot("A").state is not SlotState.GOOD:
            wrong.append("the slot that runs is no longer what to fall back to")
        if files["slot-a.img"] != self._running:
            wrong.append("the slot that runs was written")
        if content == "mixed" and boot.slot("B").state is not SlotState.BAD:
            wrong.append("a slot that is not whole may boot")
        if content == "old" and boot.slot("B").state is SlotState.TRYING:
            wrong.append("a slot is tried that does not hold the release")
        return wrong

    def _wrong_state(self, files: Mapping[str, bytes], saved: int, content: str) -> list[str]:
        state, lost = self._state(files)
        before, _ = self._state(self._recording.before)
        wrong = []
        if lost or state.generation < max(saved, before.generation):
            wrong.append("a state that was saved is lost")
        if state.highest_sequence < before.highest_sequence:
            wrong.append("the highest sequence went back")
        known = state.slot("B")
        done = known.content in (Content.VERIFIED, Content.ACTIVE)
        if done and known.release == self._recording.candidate.digest and content != "new":
            wrong.append("the state takes a slot for right that is not")
        return wrong

    def _state(self, files: Mapping[str, bytes]) -> tuple[State, bool]:
        key = tuple(files.get(path) for path in COPIES)
        if key not in self._states:
            rest = {p: c for p, c in self._there.items() if not p.startswith("state/")}
            self._put(rest | {p: c for p, c in files.items() if p.startswith("state/")})
            found = StateFiles(self._rig.folder / "state")
            self._states[key] = found.load(), found.lost
        return self._states[key]

    def _put(self, files: Mapping[str, bytes]) -> None:
        for path in self._there.keys() - files.keys():
            (self._rig.folder / path).unlink()
        for path, content in files.items():
            if self._there.get(path) is not content:
                place = self._rig.folder / path
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(content)
        self._there = dict(files)

    def _go_on(self, files: Mapping[str, bytes], boot: BootState, content: str) -> Verdict:
        """Start the device: what boots proves itself, and the update runs again."""
        assert boot.next is not None
        self._put(files)
        again = 0
        try:
            with (
                self._rig.recorder(files) as recorder,
                self._rig.machine(recorder.sink, boot.next) as machine,
            ):
                if boot.next == "B":
                    prove(machine, lambda: Health(()))
                then, report = self._update(machine)
        except (ImageError, BootError) as error:
            self._there = self._rig.files()
            return Verdict((f"the next run fails: {error}",), boot.next, content)
        self._there = self._rig.files()
        medium = Medium.holding(files)
        slot = medium.names["slot-b.img"]
        holds = bytearray(files["slot-b.img"])
        for entry in recorder.entries:
            if isinstance(entry.operation, Write) and entry.operation.file == slot:
                again += _same_blocks(entry.operation, holds)
                entry.operation.applied(holds)
        wrong = []
        if replayed(medium, recorder.entries) != self._there:
            wrong.append("something was written past the recorder")
        if self._content(self._there) != "new":
            wrong.append("the next run ends, and the slot is not whole")
        if self._rig.loader.open(self._rig.folder).read().next != "B":
            wrong.append("the next run ends, and the slot does not boot")
        fetched = 0 if report is None else self._fetched_again(files, report)
        if again:
            wrong.append(f"{again} bytes that were right are written again")
        if fetched:
            wrong.append(f"{fetched} bytes that were there are fetched again")
        return Verdict(tuple(wrong), boot.next, content, then, again, fetched)

    def _update(self, machine: Machine) -> tuple[str, UpdateReport]:
        target = machine.group("B" if machine.found.group != machine.group("B") else "A")
        candidate = self._recording.candidate
        try:
            report = update(machine, target, candidate)
        except GivenUp:
            if not self._rig.loader.doubtful:
                raise
            report = update(machine, target, candidate, by_hand=True)
            return "waits its time, then " + _told(report), report
        return _told(report), report

    def _fetched_again(self, files: Mapping[str, bytes], report: UpdateReport) -> int:
        """Return how much more was fetched than neither slot had at its place."""
        slot = files["slot-b.img"]
        right = {chunk for at, want, chunk in self._chunks if slot.startswith(want, at)}
        lack = {chunk for _, _, chunk in self._chunks} - right - self._elsewhere
        most = sum(map(self._recording.rig.channel.stored_length, lack))
        return max(0, sum(image.bytes_fetched for image in report.images) - most)


def _same_blocks(write: Write, holds: bytearray) -> int:
    """Return the bytes of whole blocks that are written as they are."""
    same = 0
    for start in range(-(-write.offset // BLOCK) * BLOCK, write.offset + write.length, BLOCK):
        stop = start + BLOCK
        if stop <= write.offset + write.length:
            data = write.data[start - write.offset : stop - write.offset]
            same += BLOCK * (holds[start:stop] == data)
    return same


def _told(report: UpdateReport) -> str:
    if report.outcome is Outcome.ACTIVATED and not any(i.bytes_written for i in report.images):
        return "activates"
    return {
        Outcome.ACTIVATED: "writes what lacks, activates",
        Outcome.NOTHING_TO_DO: "proves itself",
        Outcome.AWAITING_REBOOT: "waits for the boot",
    }.get(report.outcome, report.outcome.value)

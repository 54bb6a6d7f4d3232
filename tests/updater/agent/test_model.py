# SPDX-License-Identifier: Apache-2.0
"""Verbs in any order, cut off, two at once, on slots whose bits fall over: after each of them the
device is as the model says, and what must never be is not.

The same histories every time; with CAFLIP_MODEL_EXAMPLES=1000 so many others, new each time.
"""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import ClassVar, TypeAlias

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    precondition,
    rule,
    run_state_machine_as_test,
)

from boot.bootloader import SlotState
from boot.uboot import UBoot
from images.planning import Plan
from tests.updater.agent.model import LOCKED, OTHER, TRIES, Ended, Model, Steps
from tests.updater.agent.small_device import (
    FIRST,
    LENGTH,
    RELEASES,
    Agent,
    Break,
    Channel,
    SmallDevice,
    make_channel,
    make_small_device,
)
from tests.updater.running import Caflip
from updater.agent import finding
from updater.agent.install import _Writing
from updater.agent.sharing import Chunks
from updater.lock import Lock
from updater.releases.document import Release
from updater.releases.policy import Device, Judgement, judge
from updater.state import State
from updater.state_files import StateFiles

EXAMPLES = os.environ.get("CAFLIP_MODEL_EXAMPLES")
# A history that fails is not made shorter: that takes minutes, and it has 25 steps at most.
MODEL = settings(
    max_examples=int(EXAMPLES or 30),
    derandomize=EXAMPLES is None,
    stateful_step_count=25,
    database=None,
    phases=(Phase.generate,),
    report_multiple_bugs=False,
    suppress_health_check=list(HealthCheck),
)

SLOTS = st.sampled_from(["A", "B"])
AHEAD = st.sampled_from([1, 1, 0, -1])
"""A release after, like, or before the newest one that proved good."""
HOLDS = st.tuples(
    st.sampled_from(["mark target bad", "record", "activate", "agent.fell-back", "fetch release"]),
    st.integers(0, 3),
)
WORDS = {"update": "outcome", "check": "new", "health": "verdict"}


class Devices(RuleBasedStateMachine):
    """One device, and the model of it."""

    small: ClassVar[SmallDevice]

    def __init__(self) -> None:
        super().__init__()
        self.small.put(self.small.new)
        self.model = Model(FIRST)
        self.highest = FIRST
        self.content = self.small.image("A")

    @rule(ahead=AHEAD, by_hand=st.booleans())
    def update(self, ahead: int, by_hand: bool) -> None:
        number = self._number(ahead)
        self._run(self.model.check(number), "check", self._release(number))
        more = ["--retry"] if by_hand else []
        expected = _to_the_end(self.model.update(number, by_hand))
        self._run(expected, "update", self._release(number), *more)

    @precondition(lambda self: self.model.may_prove)
    @rule(healthy=st.booleans())
    def health(self, healthy: bool) -> None:
        self._let(healthy)
        self._run(_to_the_end(self.model.health(healthy)), "health")

    @precondition(lambda self: self.model.may_prove)
    @rule(times=st.integers(1, 4))
    def boot(self, times: int) -> None:
        """Also again and again, until its tries are used up."""
        for _ in range(times):
            assert self.small.device.boot() == self.model.boot()
        self.content = self.small.image(self.model.running)
        self._see()

    @rule(fate=st.sampled_from(["good", "sick", "silent"]))
    def new_release(self, fate: str) -> None:
        """The whole way of a release, which random verbs go too seldom."""
        self.update(1, True)
        self.boot(TRIES + 1 if fate == "silent" else 1)
        self.health(fate == "good")

    @rule(verb=st.sampled_from(["rollback", "mark-bad B", "mark-bad A", "mark-good"]))
    def by_hand(self, verb: str) -> None:
        word, *slot = verb.split()
        model = self.model
        if word == "mark-bad":
            expected = model.mark_bad(*slot)
        else:
            expected = model.mark_good() if word == "mark-good" else model.rollback()
        self._run(expected, word, *slot)

    @rule(ahead=AHEAD, by_hand=st.booleans(), hold=HOLDS)
    def cut_update(self, ahead: int, by_hand: bool, hold: tuple[str, int]) -> None:
        number = self._number(ahead)
        more = ["--retry"] if by_hand else []
        steps = self.model.update(number, by_hand)
        self._cut(steps, hold, "update", self._release(number), *more)

    @precondition(lambda self: self.model.may_prove)
    @rule(healthy=st.booleans(), step=st.sampled_from(["agent.fell-back", "prove", "mark good"]))
    def cut_health(self, healthy: bool, step: str) -> None:
        self._let(healthy)
        self._cut(self.model.health(healthy), (step, 0), "health")

    @rule(ahead=AHEAD, hold=HOLDS, second=st.sampled_from(["update", "health", "rollback"]))
    def two_at_once(self, ahead: int, hold: tuple[str, int], second: str) -> None:
        """The second one is refused while the first one stands still, and changes nothing."""
        number = self._number(ahead)
        release = self._release(number)
        with self._start(hold, "update", release) as agent:
            if agent.wait_held() is not None:
                before = self._settled_files()
                refused = self._told(second, *([release] if second == "update" else []))
                assert refused == LOCKED
                assert self._settled_files() == before
                agent.go_on()
            status = agent.end()
        expected = _to_the_end(self.model.update(number, False))
        self._see()
        assert status == expected.status

    @rule(slot=SLOTS, at=st.integers(0, LENGTH - 1))
    def rot(self, slot: str, at: int) -> None:
        """A bit falls over: in the seed, or in the slot that is to be filled."""
        image = self.small.image(slot)
        self.small.write(slot, bytes([image[at] ^ 1]), at)
        self.model.slots[slot].rotten = True
        self._look(slot)
        self.content = self.small.image(self.model.running)
        self._see()

    def _see(self) -> None:
        """Look at the whole device: after each verb, each boot and each cut."""
        self._is_safe()
        self._is_as_modelled()

    def _is_safe(self) -> None:
        """What must never be, whatever the model says."""
        small, boot = self.small, self.small.device.boot_state()
        good = {slot.name for slot in boot.slots if slot.state is SlotState.GOOD}
        assert good, "no slot is good"
        assert boot.next is not None, "nothing boots"
        assert good - {boot.next} or boot.next in good, "an unproved slot has no fallback"
        assert small.image(self.model.running) == self.content, "the slot that runs was written"
        highest = self._state().highest_sequence
        assert highest >= self.highest, "the highest sequence went back"
        self.highest = highest
        for slot in boot.slots:
            if slot.state is SlotState.BAD or slot.tries_left == 0:
                continue
            held = self._held(slot.name)
            rotten = self.model.slots[slot.name].rotten
            assert held is not None or rotten, "a slot may boot that is not whole"
            if slot.state is SlotState.TRYING and slot.name == boot.next and held is not None:
                assert held >= highest, "an old release is tried"

    def _is_as_modelled(self) -> None:
        model, boot, state = self.model, self.small.device.boot_state(), self._state()
        assert boot.next == model.next, "another slot boots next"
        for name, slot in model.slots.items():
            found = boot.slot(name)
            assert (found.state, found.tries_left) == (slot.state, slot.left), (
                f"{name} boots otherwise"
            )
            record = state.slot(name)
            assert (record.content, record.sequence) == (slot.content, slot.release), (
                f"{name} is remembered otherwise"
            )
            assert self._held(name) == slot.holds, f"{name} holds something else"
        assert state.highest_sequence == model.highest
        assert len(state.failures) == len(model.failed), "another number of failures"

    def _run(self, expected: Ended, verb: str, *arguments: str | Path) -> None:
        told = self._told(verb, *arguments)
        self._see()
        assert told == expected, verb

    def _told(self, verb: str, *arguments: str | Path) -> Ended:
        run = self.small.device.run(verb, *arguments, "--json", running=self.model.running)
        word = run.last["code" if run.last["event"] == "error" else WORDS.get(verb, "slot")]
        return Ended(run.status, str(word))

    def _start(self, hold: tuple[str, int], verb: str, *arguments: str | Path) -> Agent:
        return self.small.start(verb, *arguments, running=self.model.running, hold=hold)

    def _cut(self, steps: Steps, hold: tuple[str, int], verb: str, *arguments: str | Path) -> None:
        """Kill a verb in the midst of it; the model stops before the same step."""
        with self._start(hold, verb, *arguments) as agent:
            labels = agent.wait_held()
            status = agent.end() if labels is None else agent.kill()
        if labels is None:
            expected = _to_the_end(steps).status
        else:
            expected = -signal.SIGKILL
            for step in steps:
                if step not in labels[:-1]:
                    break
        self._look(OTHER[self.model.running])
        self._see()
        assert status == expected, labels

    def _look(self, slot: str) -> None:
        """Tell the model what a slot holds where that hangs on when the cut came."""
        found = self.model.slots[slot]
        found.holds = self._held(slot)
        found.rotten = found.rotten and found.holds is None

    def _settled_files(self) -> dict[str, bytes]:
        """Return all but the slot that the first agent's threads may be writing to."""
        files = self.small.files()
        del files[OTHER[self.model.running]]
        return files

    def _let(self, healthy: bool) -> None:
        if healthy:
            self.small.healthy.touch()
        else:
            self.small.healthy.unlink(missing_ok=True)

    def _held(self, slot: str) -> int | None:
        image = self.small.image(slot)
        images = self.small.channel.images.items()
        return next((number for number, content in images if content == image), None)

    def _number(self, ahead: int) -> int:
        return min(max(1, self.model.highest + ahead), RELEASES)

    def _release(self, number: int) -> Path:
        return self.small.channel.releases[number]

    def _state(self) -> State:
        return StateFiles(self.small.device.folder / "state").load()


def _to_the_end(steps: Steps) -> Ended:
    while True:
        try:
            next(steps)
        except StopIteration as end:
            ended: Ended = end.value
            return ended


def _run_histories(small: SmallDevice, how: settings, broken: Break | None = None) -> None:
    """Run histories of one device, each from the beginning."""
    bound = type("Bound", (Devices,), {"small": replace(small, broken=broken)})
    run_state_machine_as_test(bound, settings=how)


@pytest.fixture(scope="module")
def channel(tmp_path_factory: pytest.TempPathFactory) -> Channel:
    return make_channel(tmp_path_factory.mktemp("channel"))


@pytest.fixture
def small(
    tmp_path: Path, channel: Channel, caflip: Caflip, monkeypatch: pytest.MonkeyPatch
) -> SmallDevice:
    return make_small_device(tmp_path / "device", channel, caflip, monkeypatch)


def test_every_history_ends_as_the_model_says(small: SmallDevice) -> None:
    _run_histories(small, MODEL)


Approve: TypeAlias = Callable[[_Writing, str, Chunks, Plan], None]


def _approving(patch: pytest.MonkeyPatch, mark_bad: Callable[[UBoot, str], None]) -> None:
    """Let an update do something else in place of marking its target bad."""
    real: Approve = _Writing.approve

    def approve(writing: _Writing, slot_class: str, chunks: Chunks, plan: Plan) -> None:
        with pytest.MonkeyPatch.context() as inner:
            inner.setattr(UBoot, "mark_bad", mark_bad)
            real(writing, slot_class, chunks, plan)

    patch.setattr(_Writing, "approve", approve)


def _not_marked_bad_first(patch: pytest.MonkeyPatch) -> None:
    _approving(patch, lambda loader, slot: None)


def _flip_before_settle(patch: pytest.MonkeyPatch) -> None:
    _approving(patch, lambda loader, slot: loader.set_primary(slot, TRIES))


def _highest_sequence_ignored(patch: pytest.MonkeyPatch) -> None:
    def judge_any(release: Release, device: Device) -> Judgement:
        return judge(release, replace(device, highest_sequence=0))

    patch.setattr(finding, "judge", judge_any)


def _highest_sequence_forgotten(patch: pytest.MonkeyPatch) -> None:
    real = State.proved

    def proved(state: State, slot: str, now: datetime) -> State:
        return replace(real(state, slot, now), highest_sequence=1)

    patch.setattr(State, "proved", proved)


def _fallback_marked_bad(patch: pytest.MonkeyPatch) -> None:
    real = UBoot.set_primary

    def set_primary(loader: UBoot, slot: str, tries: int) -> None:
        real(loader, slot, tries)
        loader.mark_bad(OTHER[slot])

    patch.setattr(UBoot, "set_primary", set_primary)


def _never_locked(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Lock, "_take", lambda lock: None)


SEEN = (
    "no slot is good",
    "a slot may boot that is not whole",
    "an old release is tried",
    "the highest sequence went back",
    "another slot boots next",
    "boots otherwise",
    "is remembered otherwise",
    "assert refused == LOCKED",
)
"""What a history says that fails. Which of them comes first hangs on the history."""


@pytest.mark.parametrize(
    "broken",
    [
        _not_marked_bad_first,
        _flip_before_settle,
        _highest_sequence_ignored,
        _highest_sequence_forgotten,
        _fallback_marked_bad,
        _never_locked,
    ],
)
def test_an_agent_that_is_broken_on_purpose_is_seen(
    small: SmallDevice, monkeypatch: pytest.MonkeyPatch, broken: Break
) -> None:
    broken(monkeypatch)
    # A group where a cut comes at another moment when the history is run again to be shown.
    with pytest.raises((AssertionError, ExceptionGroup)) as failure:
        _run_histories(small, settings(MODEL, max_examples=200), broken)
    told = "".join(traceback.format_exception(failure.value))
    assert any(seen in told for seen in SEEN)

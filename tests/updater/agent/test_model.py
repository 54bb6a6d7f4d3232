# SPDX-License-Identifier: Apache-2.0
"""Verbs in any order, cut off, two at once, on slots whose bits fall over: after each of them the
device is as the model says, and what must never be is not.

The same histories every time; with CAFLIP_MODEL_EXAMPLES=1000 so many others, new each time.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from boot.bootloader import SlotState
from boot.uboot import UBoot
from tests.capabilities import require_tool
from tests.updater.agent.model import LOCKED, OTHER, Ended, Model, Steps
from tests.updater.agent.small_device import (
    FIRST,
    LENGTH,
    RELEASES,
    Break,
    Channel,
    SmallDevice,
    make_channel,
    make_small_device,
)
from tests.updater.running import Caflip, Run
from updater.agent.install import _Writing
from updater.agent.machine import Machine
from updater.releases import policy
from updater.state import State
from updater.state_files import StateFiles

EXAMPLES = os.environ.get("CAFLIP_MODEL_EXAMPLES")
MODEL = settings(
    max_examples=int(EXAMPLES or 25),
    derandomize=EXAMPLES is None,
    stateful_step_count=25,
    database=None,
    suppress_health_check=list(HealthCheck),
)

SLOTS = st.sampled_from(["A", "B"])
NUMBERS = st.integers(1, RELEASES)
HOLDS = st.tuples(
    st.sampled_from(["fetch release", "agent.fell-back", "mark target bad", "record", "activate"]),
    st.integers(0, 4),
)
WORDS = {"update": "outcome", "check": "new", "health": "verdict"}


class Devices(RuleBasedStateMachine):
    """One device, and the model of it."""

    def __init__(self, small: SmallDevice, broken: Break | None = None) -> None:
        super().__init__()
        small.put(small.new)
        self.small = small
        self.broken = broken
        self.model = Model(FIRST)
        self.expected = self.told = Ended(0, "")
        self.highest = FIRST
        self.content = small.image("A")

    @rule(number=NUMBERS)
    def check(self, number: int) -> None:
        self._run(self.model.check(number), "check", self._release(number))

    @rule(number=NUMBERS, by_hand=st.booleans())
    def update(self, number: int, by_hand: bool) -> None:
        more = ["--retry"] if by_hand else []
        expected = _to_the_end(self.model.update(number, by_hand))
        self._run(expected, "update", self._release(number), *more)

    @rule(healthy=st.booleans())
    def health(self, healthy: bool) -> None:
        self._let(healthy)
        self._run(_to_the_end(self.model.health(healthy)), "health")

    @rule()
    def mark_good(self) -> None:
        self._run(self.model.mark_good(), "mark-good")

    @rule(slot=SLOTS)
    def mark_bad(self, slot: str) -> None:
        self._run(self.model.mark_bad(slot), "mark-bad", slot)

    @rule()
    def rollback(self) -> None:
        self._run(self.model.rollback(), "rollback")

    @rule(times=st.integers(1, 4))
    def boot(self, times: int) -> None:
        """Also again and again, until its tries are used up."""
        for _ in range(times):
            assert self.small.device.boot() == self.model.boot()
        self.content = self.small.image(self.model.running)

    @rule(number=NUMBERS, by_hand=st.booleans(), hold=HOLDS)
    def cut_update(self, number: int, by_hand: bool, hold: tuple[str, int]) -> None:
        more = ["--retry"] if by_hand else []
        steps = self.model.update(number, by_hand)
        self._cut(steps, hold, "update", self._release(number), *more)

    @rule(healthy=st.booleans(), step=st.sampled_from(["agent.fell-back", "prove", "mark good"]))
    def cut_health(self, healthy: bool, step: str) -> None:
        self._let(healthy)
        self._cut(self.model.health(healthy), (step, 0), "health")

    @rule(number=NUMBERS, hold=HOLDS, second=st.sampled_from(["update", "health", "rollback"]))
    def two_at_once(self, number: int, hold: tuple[str, int], second: str) -> None:
        """The second one is refused while the first one stands still, and changes nothing."""
        release = self._release(number)
        agent = self._start(hold, "update", release)
        if agent.wait_held() is not None:
            before = self.small.files()
            self._run(LOCKED, second, *([release] if second == "update" else []))
            assert self.told == LOCKED
            assert self.small.files() == before
            agent.go_on()
        expected = _to_the_end(self.model.update(number, False))
        assert agent.end() == expected.status

    @rule(slot=SLOTS, at=st.integers(0, LENGTH - 1))
    def rot(self, slot: str, at: int) -> None:
        """A bit falls over: in the seed, or in the slot that is to be filled."""
        image = self.small.image(slot)
        self.small.write(slot, bytes([image[at] ^ 1]), at)
        self.model.slots[slot].rotten = True
        self._look(slot)
        self.content = self.small.image(self.model.running)

    @invariant()
    def holds(self) -> None:
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
        assert self.told == self.expected
        assert boot.next == model.next
        for name, slot in model.slots.items():
            found = boot.slot(name)
            assert (found.state, found.tries_left) == (slot.state, slot.left), name
            record = state.slot(name)
            assert (record.content, record.sequence) == (slot.content, slot.release), name
            assert self._held(name) == slot.holds, name
        assert state.highest_sequence == model.highest
        assert len(state.failures) == len(model.failed)

    def _run(self, expected: Ended, verb: str, *arguments: str | Path) -> None:
        self.expected = expected
        self.told = _told(
            verb, self.small.device.run(verb, *arguments, "--json", running=self.model.running)
        )

    def _start(self, hold: tuple[str, int], verb: str, *arguments: str | Path):  # noqa
        return self.small.start(
            verb, *arguments, running=self.model.running, hold=hold, broken=self.broken
        )

    def _cut(self, steps: Steps, hold: tuple[str, int], verb: str, *arguments: str | Path) -> None:
        """Kill a verb in the midst of it; the model stops before the same step."""
        agent = self._start(hold, verb, *arguments)
        labels = agent.wait_held()
        if labels is None:
            assert agent.end() == _to_the_end(steps).status
            return
        assert agent.end(kill=True) < 0
        for step in steps:
            if step not in labels[:-1]:
                break
        else:
            raise AssertionError(f"the model was done, and the agent was not: {labels}")
        self._look(OTHER[self.model.running])

    def _look(self, slot: str) -> None:
        """Tell the model what a slot holds where that hangs on when the cut came."""
        found = self.model.slots[slot]
        found.holds = self._held(slot)
        found.rotten = found.rotten and found.holds is None

    def _let(self, healthy: bool) -> None:
        if healthy:
            self.small.healthy.touch()
        else:
            self.small.healthy.unlink(missing_ok=True)

    def _held(self, slot: str) -> int | None:
        image = self.small.image(slot)
        images = self.small.channel.images.items()
        return next((number for number, content in images if content == image), None)

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


def _told(verb: str, run: Run) -> Ended:
    word = run.last["code" if run.last["event"] == "error" else WORDS.get(verb, "slot")]
    return Ended(run.status, str(word))


@pytest.fixture(scope="module")
def channel(tmp_path_factory: pytest.TempPathFactory) -> Channel:
    require_tool("gpg", "fw_setenv")
    return make_channel(tmp_path_factory.mktemp("channel"))


@pytest.fixture
def small(
    tmp_path: Path, channel: Channel, caflip: Caflip, monkeypatch: pytest.MonkeyPatch
) -> SmallDevice:
    made = make_small_device(tmp_path / "device", channel, caflip)
    monkeypatch.setattr("updater.agent.opening.read_boot_id", made.device.boot_id.read_text)
    return made


def test_every_history_ends_as_the_model_says(small: SmallDevice) -> None:
    run_state_machine_as_test(lambda: Devices(small), settings=MODEL)

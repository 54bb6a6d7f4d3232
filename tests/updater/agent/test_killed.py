# SPDX-License-Identifier: Apache-2.0
"""SIGKILL at every event of an update and of the proof after the boot: what boots is whole, and the
next run goes on from there and fetches only what lacks.

Two ways. The agent stands still in its n-th event when it is killed: no event is left out. Or it is
killed when its n-th line of JSON was read, while it works on: between events, somewhere else every
time. What a cut of the power does to what was not flushed: tests/crash and tests/vm.
"""

from __future__ import annotations

import random
import signal
from dataclasses import dataclass
from pathlib import Path

import pytest

from boot.bootloader import SlotState
from tests.updater.agent.model import OTHER
from tests.updater.agent.small_device import (
    FIRST,
    Agent,
    Channel,
    SmallDevice,
    make_channel,
    make_small_device,
)
from tests.updater.running import Caflip
from updater.device_options import EX_NOTHING
from updater.state_files import StateFiles

ROUNDS = 4
"""How often the agent is killed after each line."""


@dataclass(frozen=True, slots=True)
class Begun:
    """A device that is about to be updated, or to prove itself.

    Attributes:
        files: what it holds.
        running: the slot that runs.
        release: that is to come, or is tried.
    """

    small: SmallDevice
    files: dict[str, bytes]
    running: str
    release: int

    @property
    def target(self) -> str:
        """The slot that does not run."""
        return OTHER[self.running]

    def start(self, verb: str, hold: tuple[str, int] | None = None) -> Agent:
        """Start a verb in a process of its own."""
        return self.small.start(verb, *self._words(verb), running=self.running, hold=hold)

    def finish(self) -> None:
        """Run the update to its end; see that it fetches what lacks and no more."""
        small = self.small
        images = small.image(self.target), small.image(self.running)
        lacking = small.channel.lacking(self.release, *images)
        verb = "update"
        done = small.device.run(verb, *self._words(verb), "--json", running=self.running)
        assert done.last["outcome"] in ("activated, boots next", "awaiting reboot"), done.err
        assert sum(image["bytes_fetched"] for image in done.last["images"]) == lacking
        assert small.image(self.target) == small.channel.images[self.release]
        assert small.device.boot_state().next == self.target

    def still_boots(self) -> None:
        """Whatever happened: the slot that runs is as it was, and no slot may boot that is not."""
        small, boot = self.small, self.small.device.boot_state()
        assert boot.next is not None
        assert boot.slot(self.running).state is SlotState.GOOD
        assert small.image(self.running) == self.files[self.running]
        for slot in boot.slots:
            if slot.state is not SlotState.BAD and slot.tries_left != 0:
                assert small.image(slot.name) in small.channel.images.values(), slot

    def _words(self, verb: str) -> list[Path]:
        return [self.small.channel.releases[self.release]] if verb == "update" else []


@pytest.fixture(scope="module")
def channel(tmp_path_factory: pytest.TempPathFactory) -> Channel:
    return make_channel(tmp_path_factory.mktemp("channel"))


@pytest.fixture
def small(
    tmp_path: Path, channel: Channel, caflip: Caflip, monkeypatch: pytest.MonkeyPatch
) -> SmallDevice:
    return make_small_device(tmp_path / "device", channel, caflip, monkeypatch)


@pytest.fixture
def tried(small: SmallDevice) -> Begun:
    """The next release runs in slot B, and is not proved yet."""
    small.device.must("update", small.channel.releases[FIRST + 1])
    assert small.device.boot() == "B"
    return Begun(small, small.files(), "B", FIRST + 1)


@pytest.fixture(params=["an empty slot", "a good slot"])
def begun(request: pytest.FixtureRequest, small: SmallDevice) -> Begun:
    """What is written to was never written, or is the system that was left."""
    if request.param == "an empty slot":
        return Begun(small, small.new, "A", FIRST + 1)
    request.getfixturevalue("tried")
    small.device.must("health", running="B")
    assert small.device.boot_state().slot("A").state is SlotState.GOOD
    return Begun(small, small.files(), "B", FIRST + 2)


def _kill_in_event(begun: Begun, verb: str, label: str, number: int) -> bool:
    """Kill a verb while it stands still; tell whether it got there."""
    begun.small.put(begun.files)
    with begun.start(verb, (label, number)) as agent:
        held = agent.wait_held() is not None
        status = agent.kill() if held else agent.end()
    assert status == (-signal.SIGKILL if held else 0)
    return held


def _kill_after_line(begun: Begun, verb: str, number: int) -> bool:
    """Kill a verb when so many lines were read; tell whether there were so many before its end."""
    with begun.start(verb) as agent:
        told = all(agent.read_line() for _ in range(number))
        status = agent.kill()
    assert status in (0, EX_NOTHING, -signal.SIGKILL)
    return told and status < 0


def test_killed_in_any_event_an_update_finishes(begun: Begun) -> None:
    kills = 0
    while _kill_in_event(begun, "update", "fetch release", kills):
        kills += 1
        begun.still_boots()
        begun.finish()
    assert kills > 20


@pytest.mark.parametrize("chance", range(ROUNDS))
def test_killed_after_any_line_an_update_finishes(begun: Begun, chance: int) -> None:
    kills = 0
    begun.small.put(begun.files)
    while _kill_after_line(begun, "update", kills + 1):
        kills += 1
        begun.still_boots()
        begun.finish()
        begun.small.put(begun.files)
    assert kills > 10


def test_killed_again_and_again_an_update_loses_nothing(begun: Begun) -> None:
    small, chance = begun.small, random.Random(3)
    small.put(begun.files)
    lacking = small.channel.lacking(
        begun.release, small.image(begun.target), small.image(begun.running)
    )
    for _ in range(20):
        _kill_after_line(begun, "update", chance.randint(3, 16))
        begun.still_boots()
        left = small.channel.lacking(
            begun.release, small.image(begun.target), small.image(begun.running)
        )
        assert left <= lacking
        lacking = left
    begun.finish()


def _proves_good_the_next_time(tried: Begun) -> None:
    """After a kill: nothing but what is known of the slot has changed, and it proves good."""
    small, boot = tried.small, tried.small.device.boot_state()
    assert boot.next == "B"
    assert boot.slot("A").state is SlotState.GOOD
    small.device.must("health", running="B")
    assert small.device.boot_state().slot("B").state is SlotState.GOOD
    assert StateFiles(small.device.folder / "state").load().highest_sequence == tried.release
    assert all(small.image(name) == tried.files[name] for name in OTHER)


def test_killed_in_any_event_of_the_proof_a_slot_proves_good(tried: Begun) -> None:
    kills = 0
    while _kill_in_event(tried, "health", "prove", kills):
        kills += 1
        _proves_good_the_next_time(tried)
    assert kills == 2


@pytest.mark.parametrize("chance", range(ROUNDS))
def test_killed_after_any_line_of_the_proof_a_slot_proves_good(tried: Begun, chance: int) -> None:
    kills = 0
    while _kill_after_line(tried, "health", kills + 1):
        kills += 1
        _proves_good_the_next_time(tried)
        tried.small.put(tried.files)
    assert kills >= 2

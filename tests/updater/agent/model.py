# SPDX-License-Identifier: Apache-2.0
"""What every verb does to a device with two slots, in short: what the agent is held to.

Releases are their sequence numbers. A verb that may be cut off is a generator: it gives the name of
a step before it takes it, so whoever stops asking has cut it off there. Time stands still: what
failed once waits for a person.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import TypeAlias

from boot.bootloader import SlotState
from updater.state import Content

TRIES = 3
"""`update.tries` where nothing is configured."""

OTHER = {"A": "B", "B": "A"}


@dataclass(frozen=True, slots=True)
class Ended:
    """How a verb ends: exit status, and the outcome, the slot, or the error's code."""

    status: int
    word: str


Steps: TypeAlias = Generator[str, None, Ended]

LOCKED = Ended(75, "agent.locked")


@dataclass(slots=True)
class Slot:
    """One slot.

    Attributes:
        state, left: what the bootloader knows of it.
        content, release: what is remembered of it.
        holds: the release whose image it holds to the byte; None for anything else.
        rotten: bits fell over since it was written.
        tried_in: the number of the boot that made it primary.
    """

    state: SlotState = SlotState.TRYING
    left: int | None = 0
    content: Content = Content.EMPTY
    release: int | None = None
    holds: int | None = None
    rotten: bool = False
    tried_in: int = -1


@dataclass(slots=True)
class Model:
    """Slot A runs a release that was provisioned; slot B is empty.

    Attributes:
        order: which slot the bootloader asks first; bad ones do not stand in it.
        highest: sequence of the newest release that proved good.
        failed: releases that are not tried again, unless by hand.
        boots: how often it was started.
    """

    release: int
    slots: dict[str, Slot] = field(init=False)
    order: list[str] = field(default_factory=lambda: ["A", "B"])
    running: str = "A"
    highest: int = field(init=False)
    failed: set[int] = field(default_factory=set)
    boots: int = 0

    def __post_init__(self) -> None:
        good = Slot(SlotState.GOOD, None, Content.GOOD, self.release, self.release)
        self.slots = {"A": good, "B": Slot()}
        self.highest = self.release

    @property
    def here(self) -> Slot:
        """The slot that runs."""
        return self.slots[self.running]

    @property
    def target(self) -> Slot:
        """The slot that does not run."""
        return self.slots[OTHER[self.running]]

    @property
    def next(self) -> str | None:
        """The slot that boots if the machine starts now."""
        return next((name for name in self.order if self.slots[name].left != 0), None)

    @property
    def may_prove(self) -> bool:
        """A slot is being tried, or was: a boot, or a look at its health, tells something."""
        trial = self.here.state is not SlotState.GOOD or self.target.content is Content.ACTIVE
        return trial or self.next != self.running

    def boot(self) -> str:
        """Start the machine."""
        assert self.next is not None
        self.running = self.next
        if self.here.left is not None:
            self.here.left -= 1
        self.boots += 1
        return self.running

    def check(self, release: int) -> Ended:
        """`caflip check`."""
        if release < self.highest:
            return Ended(65, "release.rollback")
        known = (self.here.content, self.here.release) == (Content.GOOD, release)
        return Ended(3, "False") if known else Ended(0, "True")

    def update(self, release: int, by_hand: bool) -> Steps:
        """`caflip update`, with `--retry` by hand."""
        if release < self.highest:
            return Ended(65, "release.rollback")
        yield from self._note_fallback()
        here, target, name = self.here, self.target, OTHER[self.running]
        known = (here.content, here.release) == (Content.GOOD, release)
        if known and here.state is SlotState.GOOD:
            return Ended(3, "nothing to do")
        waits = (target.content, target.release) == (Content.ACTIVE, release)
        if waits and self.next == name:
            return Ended(3, "awaiting reboot")
        if release in self.failed and not by_hand:
            return Ended(65, "release.given-up")
        if here.state is not SlotState.GOOD:
            return Ended(75, "agent.not-proved")
        if target.holds != release:
            yield "mark target bad"
            self._never_boot(name)
            target.content, target.release, target.holds = Content.WRITING, release, None
        yield "record"
        target.content, target.release, target.holds = Content.VERIFIED, release, release
        target.rotten = False
        yield "activate"
        target.content, target.tried_in = Content.ACTIVE, self.boots
        self._prefer(name, SlotState.TRYING, TRIES)
        return Ended(0, "activated, boots next")

    def health(self, healthy: bool) -> Steps:
        """`caflip health`, with checks that pass or fail."""
        fell_back = yield from self._note_fallback()
        if self.here.state is SlotState.GOOD:
            return Ended(0, "fell back" if fell_back else "already good")
        yield "prove"
        if healthy:
            yield "mark good"
            self.mark_good()
            return Ended(0, "proved good")
        # Another slot is good: the one that runs would not be on trial else.
        self._give_up(self.running)
        return Ended(65, "agent.unhealthy")

    def mark_good(self) -> Ended:
        """`caflip mark-good`."""
        here = self.here
        self._prefer(self.running, SlotState.GOOD, None)
        if here.content is not Content.GOOD:
            assert here.release is not None
            here.content = Content.GOOD
            self.highest = max(self.highest, here.release)
            self.failed.discard(here.release)
        return Ended(0, self.running)

    def mark_bad(self, name: str) -> Ended:
        """`caflip mark-bad`."""
        if self.slots[OTHER[name]].state is not SlotState.GOOD:
            return Ended(78, "slot.no-fallback")
        self._give_up(name)
        return Ended(0, name)

    def rollback(self) -> Ended:
        """`caflip rollback`."""
        if self.target.state is not SlotState.GOOD:
            return Ended(78, "slot.no-fallback")
        if self.here.release is not None:
            self.failed.add(self.here.release)
        self._prefer(OTHER[self.running], SlotState.GOOD, None)
        return Ended(0, OTHER[self.running])

    def _note_fallback(self) -> Generator[str, None, bool]:
        """See that the other slot was tried and does not run."""
        tried, name = self.target, OTHER[self.running]
        if tried.content is not Content.ACTIVE or tried.tried_in == self.boots:
            return False
        if self.next == name or tried.state is SlotState.BAD or tried.left:
            return False
        yield "agent.fell-back"
        self._give_up(name)
        return True

    def _give_up(self, name: str) -> None:
        slot = self.slots[name]
        if slot.release is not None:
            self.failed.add(slot.release)
        slot.content = Content.BAD
        self._never_boot(name)

    def _never_boot(self, name: str) -> None:
        self.slots[name].state, self.slots[name].left = SlotState.BAD, None
        self.order = [each for each in self.order if each != name]

    def _prefer(self, name: str, state: SlotState, left: int | None) -> None:
        self.slots[name].state, self.slots[name].left = state, left
        self.order = [name, *(each for each in self.order if each != name)]

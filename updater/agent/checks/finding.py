# SPDX-License-Identifier: Apache-2.0
"""A finding, and the device as the checks share it."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from boot.bootloader import Bootloader, BootState
from updater.config import Config
from updater.releases.clock import Clock
from updater.running import Running
from updater.slots import Slot, SlotGroup
from updater.state import State
from updater.system import System


class Level(enum.Enum):
    """How bad it is; the value is the word that users see."""

    OK = "ok"
    WARNING = "warning"  # works, and promises less
    PROBLEM = "problem"  # an update fails, or does not fall back


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        subject: what was looked at.
        found: in words.
        remedy: what to do; None where nothing has to be done.
    """

    level: Level
    subject: str
    found: str
    remedy: str | None = None


Check: TypeAlias = Callable[["Patient"], Iterator[Finding]]


@dataclass(slots=True)
class Patient:
    """This device, as far as it could be opened; each check adds what later ones need.

    Attributes:
        override: the slot that somebody vouches for; see `find_running`.
        groups: with the slots that were found, which may be none.
        bootloader, boot: None until they could be opened and read.
        running: None where that is contradictory, or could not be asked.
        state: None where none can be believed.
    """

    config: Config
    system: System
    clock: Clock
    override: str | None = None
    groups: tuple[SlotGroup, ...] = ()
    bootloader: Bootloader | None = None
    boot: BootState | None = None
    running: Running | None = None
    state: State | None = None

    @property
    def slots(self) -> tuple[Slot, ...]:
        """All slots that were found."""
        return tuple(slot for group in self.groups for slot in group.slots.values())

    @property
    def is_image(self) -> bool:
        """Whether all slots are files: a disk image, on a machine that it says nothing of."""
        return bool(self.groups) and all(slot.number is None for slot in self.slots)


def ok(subject: str, found: str) -> Finding:
    """Return a finding that is as it should be."""
    return Finding(Level.OK, subject, found)


def warning(subject: str, found: str, remedy: str | None = None) -> Finding:
    """Return a finding that makes a promise weaker."""
    return Finding(Level.WARNING, subject, found, remedy)


def problem(subject: str, found: str, remedy: str | None = None) -> Finding:
    """Return a finding that an update, or its fall back, would fail of."""
    return Finding(Level.PROBLEM, subject, found, remedy)

# SPDX-License-Identifier: Apache-2.0
"""What every bootloader can tell and do, whatever it is: the seam between agent and backend.

A slot is known here by the bootloader's own name for it (`A`, `slot-b`, `0003`). Its life:

            set_primary(slot, tries)            mark_good(slot)
    BAD ────────────────────────────▶ TRYING ────────────────────▶ GOOD
     ▲                                  │ boots use tries up; then the next in order boots
     └──────────────────────────────────┴──── mark_bad(slot), from anywhere

A good slot boots without being counted: a device that is switched off while it starts, again and
again, does not lose its proved system, and no flash is written at every boot.

Every call is durable when it returns and safe to repeat; a call that would change nothing writes
nothing. A power cut inside a call leaves the state before it or after it.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from boot.errors import SlotUnknown

MAX_TRIES = 7
"""The largest count that every counted backend can hold: GRUB's script compares digit by digit."""


class SlotState(enum.Enum):
    """What the bootloader thinks of a slot; the value is the word that users see."""

    GOOD = "good"
    TRYING = "trying"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class SlotBoot:
    """One slot as the bootloader sees it.

    Attributes:
        tries_left: boots that remain while it is being tried, 0 when they are used up; None where
            nothing is counted: a good or bad slot, or a bootloader without a counter.
    """

    name: str
    state: SlotState
    tries_left: int | None = None


@dataclass(frozen=True, slots=True)
class BootState:
    """One reading of the whole environment.

    Attributes:
        slots: in the order of the configuration.
        primary: the slot that is preferred, whether or not it can boot; None if none is.
        next: the slot that boots if the machine starts now, by the rules of this bootloader;
            None where it would find none.
        warnings: what was found damaged and how it was got round, in words; such as one copy of
            a redundant environment that is torn. The next write mends it.
    """

    slots: tuple[SlotBoot, ...]
    primary: str | None
    next: str | None
    warnings: tuple[str, ...] = ()

    def slot(self, name: str) -> SlotBoot:
        """Return one slot.

        Raises:
            SlotUnknown: there is none of this name.
        """
        for slot in self.slots:
            if slot.name == name:
                return slot
        raise unknown_slot(name, [slot.name for slot in self.slots])


class Bootloader(Protocol):
    """A backend. All methods raise `BootError`s only.

    Attributes:
        kind: the word for it in the configuration, such as `grub`.
        counts: tries are counted by the bootloader. Else a trial is one boot, and afterwards a slot
            that failed looks like one that was never tried.
        slots: the bootloader's names of the slots, in the order of the configuration.
    """

    kind: str
    counts: bool
    slots: tuple[str, ...]

    def running(self) -> str | None:
        """Return the slot that this boot came from, as far as the bootloader tells; else None."""

    def read(self) -> BootState:
        """Read the environment.

        Raises:
            EnvironmentInvalid: no copy of it can be believed.
            EnvironmentFault: it cannot be read.
        """

    def set_primary(self, slot: str, tries: int) -> None:
        """Let `slot` boot next, at most `tries` times (1 to `MAX_TRIES`), then fall back.

        Without a counter (plain UEFI, Raspberry Pi) it is tried once, whatever `tries` says.

        Raises:
            SlotUnknown, EnvironmentInvalid, EnvironmentFault.
        """

    def mark_good(self, slot: str) -> None:
        """Let `slot` boot from now on without being counted, before all others."""

    def mark_bad(self, slot: str) -> None:
        """Never boot `slot`, until it is made primary again."""

    def reboot_argument(self) -> str | None:
        """Return what the next reboot must tell the firmware, such as `0 tryboot`; None: nothing.

        It is the argument of the system call (LINUX_REBOOT_CMD_RESTART2). Only the Raspberry Pi
        has one, and only while a trial is armed.
        """

    def weaknesses(self) -> tuple[str, ...]:
        """Return, in words for `caflip doctor`, where this set-up cannot keep what is promised."""


def unknown_slot(name: str, slots: Sequence[str]) -> SlotUnknown:
    """Return the error about a name that no slot has."""
    return SlotUnknown(
        f"the bootloader has no slot {name!r}", hint=f"it has {', '.join(slots) or 'none'}"
    )

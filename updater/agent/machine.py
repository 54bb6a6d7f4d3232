# SPDX-License-Identifier: Apache-2.0
"""This device as one command sees it: configuration, slots, bootloader, state and clock."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from boot.bootloader import Bootloader, BootState, SlotState
from images.specs import TargetSpec
from images.stores.options import StoreOptions
from updater.agent.events import AgentSink
from updater.config import Config
from updater.errors import NotProved
from updater.releases.clock import Clock, Reading, read_clock
from updater.running import Running, group_named, inactive
from updater.slots import Slot, SlotGroup
from updater.state import Entry, SlotRecord, State
from updater.state_files import StateFiles

if TYPE_CHECKING:
    from updater.releases.signatures import Trust


@dataclass(slots=True)
class Machine:
    """What a command works with.

    Attributes:
        groups: what the bootloader flips between, in the order of the configuration.
        found: which one we run from, and what tells so.
        state: as it is on the medium; changed by `remember` only.
        boot_id: of this boot, from the kernel.
        machine_id: from machine-id(5).
    """

    config: Config
    groups: tuple[SlotGroup, ...]
    found: Running
    bootloader: Bootloader
    files: StateFiles
    state: State
    stores: StoreOptions
    clock: Clock
    boot_id: str
    machine_id: str = field(repr=False)
    sink: AgentSink

    @property
    def running(self) -> SlotGroup | None:
        """The slot we run from; None where none does: a disk image, in a factory."""
        return self.found.group

    def reading(self) -> Reading:
        """Read the clock against what is known to be past."""
        return read_clock(
            self.clock, last_signed=self.state.last_signed, state_written=self.state.written
        )

    def now(self) -> datetime:
        """Return the best guess of the time."""
        return self.reading().now

    def remember(self, state: State) -> None:
        """Bring a new state to the medium.

        Raises:
            NoSpace, DeviceFault, NotAccessible: it cannot be written; nothing is changed then.
        """
        self.state = self.files.save(state, self.now())

    def remember_twice(self) -> None:
        """Bring the state into the other copy, too: sequence and keys must not hang on one."""
        self.remember(self.state)

    def remember_slot(self, group: SlotGroup, record: SlotRecord, what: str) -> None:
        """Bring a new record of a slot to the medium, with a line of history."""
        entry = Entry(self.now(), what, group.boot, record.version, record.last_error)
        self.remember(self.state.with_slot(group.boot, record).noted(entry))

    def record(self, group: SlotGroup) -> SlotRecord:
        """Return what is remembered of a slot."""
        return self.state.slot(group.boot)

    def group(self, name: str) -> SlotGroup:
        """Return the slot of this name: the bootloader's, or that of one of its devices.

        Raises:
            SlotMissing: there is none.
        """
        return group_named(self.groups, name)

    def target(self) -> SlotGroup:
        """Return the slot to be filled: the first that does not run, worst content first.

        Raises:
            SlotUnclear: which slot runs is not known.
        """
        others = inactive(self.groups, self.found)
        boot = self.bootloader.read()
        return min(others, key=lambda group: boot.slot(group.boot).state is SlotState.GOOD)

    def require_proved(self, boot: BootState) -> None:
        """See that there is something to fall back to, before the other slot is touched.

        Raises:
            NotProved: the running slot is still being tried.
        """
        if self.running is None:
            return
        if boot.slot(self.running.boot).state is not SlotState.GOOD:
            raise NotProved(
                f"the running slot {self.running.boot} is not proved good yet, and the other one "
                "is what to fall back to"
            )

    def trust(self) -> Trust:
        """Return the keys in force: the configured ones, or those that took their place.

        Raises:
            KeyringUnusable, NotAccessible: signatures cannot be checked.
        """
        from updater.releases.signatures import Trust

        rotated = self.state.trust
        if rotated is not None:
            return Trust.of(
                rotated.keyring, rotated.fingerprints, rotated.threshold, rotated.version
            )
        found = self.config.trust
        return Trust.load(found.keyring, found.fingerprints, found.threshold)

    def slot_lengths(self, group: SlotGroup) -> Mapping[str, int]:
        """Return the bytes of each device of a slot, by class."""
        return {name: slot.length for name, slot in group.slots.items()}


def target_of(slot: Slot) -> TargetSpec:
    """Return a slot as the engine writes it."""
    if slot.is_region:
        return TargetSpec(slot.path, slot.offset, slot.length)
    return TargetSpec(slot.path, in_place=True)


def read_boot_id(root: Path = Path("/")) -> str:
    """Return the id of this boot; random(4). Empty where the kernel does not tell."""
    try:
        return (root / "proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def read_machine_id(root: Path = Path("/")) -> str:
    """Return this machine's id, machine-id(5); its host name where there is none."""
    try:
        return (root / "etc/machine-id").read_text().strip() or os.uname().nodename
    except OSError:
        return os.uname().nodename

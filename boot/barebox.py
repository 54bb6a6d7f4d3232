# SPDX-License-Identifier: Apache-2.0
"""barebox with bootchooser: a priority and remaining attempts for each target, in barebox's state.

    priority            the highest one with attempts left boots; 0: never
    remaining_attempts  one less at every boot, whatever the slot: bootchooser counts good ones too

So "good" is a count that no device lives to use up. Source: barebox common/bootchooser.c; the names
of the variables and of the kernel's parameters as RAUC has them (src/bootloaders/barebox.c).
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from boot.barebox_state import (
    DEVICE_TREE,
    STRIDE_LIMIT,
    Layout,
    State,
    layout_of,
    read_state,
    write_state,
)
from boot.bootloader import MAX_TRIES, BootState, SlotBoot, SlotState, unknown_slot
from boot.command_line import COMMAND_LINE, parameters, slot_of
from boot.errors import BootSettingInvalid
from boot.settings import checked_slots, checked_tries

UNCOUNTED = 1_000_000_000
"""Attempts of a good slot; every count above `MAX_TRIES` is read as good. Below 2^31: bootchooser
prints counts as signed numbers (bootchooser_save)."""

ACTIVE = ("bootchooser.active", "bootstate.active")


@dataclass(frozen=True, slots=True)
class _Target:
    priority: int
    attempts: int


class Barebox:
    """See `boot.bootloader.Bootloader`.

    Args:
        slots: the targets, in the order of `global.bootchooser.targets`.
        device: file or block device that holds the state.
        offset: of the first bucket on it, in bytes.
        prefix: of the variables, such as `bootstate` for `bootstate.A.priority`.
        variables: offsets of the variables in the data, by name without prefix, such as
            `A.priority`; None: the running device tree says it, and magic and stride as well.
        magic, stride: only with `variables`.
        device_tree: where the device tree is.
        alias: the state's name there.
        command_line: where `bootchooser.active=` stands.

    Raises:
        BootSettingInvalid: one of these makes no sense.
    """

    kind = "barebox"
    counts = True

    def __init__(
        self,
        slots: Sequence[str],
        *,
        device: Path,
        offset: int = 0,
        prefix: str = "bootstate",
        variables: Mapping[str, int] | None = None,
        magic: int = 0,
        stride: int = 0,
        device_tree: Path = DEVICE_TREE,
        alias: str = "state",
        command_line: Path = COMMAND_LINE,
    ) -> None:
        self.slots = checked_slots(slots)
        if offset < 0 or (variables is not None and not 0 < stride <= STRIDE_LIMIT):
            raise BootSettingInvalid(
                f"barebox's state at {offset}, one bucket every {stride} bytes"
            )
        self._device = device
        self._offset = offset
        self._prefix = prefix
        self._given = (
            Layout(magic, stride, {f"{prefix}.{name}": at for name, at in variables.items()})
            if variables is not None
            else None
        )
        self._device_tree = device_tree
        self._alias = alias
        self._command_line = command_line

    def running(self) -> str | None:
        """See `Bootloader`."""
        found = parameters(self._command_line)
        for name in ACTIVE:
            if found.get(name) in self.slots:
                return found[name]
        return slot_of(self._command_line, self.slots)

    def read(self) -> BootState:
        """See `Bootloader`."""
        layout = self._layout()
        state = read_state(self._device, self._offset, layout)
        targets = self._targets(layout, state)
        order = self._order(targets)
        warnings = state.warnings
        if self._value(layout, state, "attempts_locked"):
            warnings += ("attempts_locked is set: barebox counts no tries at all",)
        return BootState(
            slots=tuple(_slot(name, targets[name]) for name in self.slots),
            primary=order[0] if order else None,
            next=next((name for name in order if targets[name].attempts), None),
            warnings=warnings,
        )

    def set_primary(self, slot: str, tries: int) -> None:
        """See `Bootloader`."""
        self._change(slot, checked_tries(tries), first=True)

    def mark_good(self, slot: str) -> None:
        """See `Bootloader`."""
        self._change(slot, UNCOUNTED, first=True)

    def mark_bad(self, slot: str) -> None:
        """See `Bootloader`."""
        self._change(slot, 0, first=False)

    def reboot_argument(self) -> str | None:
        """See `Bootloader`."""
        return None

    def weaknesses(self) -> tuple[str, ...]:
        """See `Bootloader`."""
        return ()

    def _layout(self) -> Layout:
        layout = self._given or layout_of(self._device_tree, self._alias)
        for name in self.slots:
            for what in ("priority", "remaining_attempts"):
                if f"{self._prefix}.{name}.{what}" not in layout.variables:
                    raise BootSettingInvalid(f"barebox's state has no {self._prefix}.{name}.{what}")
        return layout

    def _value(self, layout: Layout, state: State, name: str) -> int:
        at = layout.variables.get(f"{self._prefix}.{name}")
        value: int = 0 if at is None else struct.unpack_from("=I", state.data, at)[0]
        return value

    def _targets(self, layout: Layout, state: State) -> dict[str, _Target]:
        found = {}
        for name in self.slots:
            priority = self._value(layout, state, f"{name}.priority")
            attempts = self._value(layout, state, f"{name}.remaining_attempts")
            found[name] = _Target(priority, attempts if priority else 0)
        return found

    def _order(self, targets: Mapping[str, _Target]) -> list[str]:
        # Of equal priorities the later target is asked first (bootchooser_target_compare).
        enabled = [name for name in reversed(self.slots) if targets[name].priority]
        return sorted(enabled, key=lambda name: -targets[name].priority)

    def _change(self, slot: str, attempts: int, *, first: bool) -> None:
        if slot not in self.slots:
            raise unknown_slot(slot, self.slots)
        layout = self._layout()
        state = read_state(self._device, self._offset, layout)
        targets = self._targets(layout, state)
        before = self._order(targets)
        order = [name for name in before if name != slot]
        if first:
            order.insert(0, slot)
        wanted = dict(targets)
        if attempts == UNCOUNTED and targets[slot].attempts > MAX_TRIES:
            attempts = targets[slot].attempts  # good already, and boots since were counted
        wanted[slot] = _Target(targets[slot].priority if first else 0, attempts)
        if first and order != before:
            # 20 and 10 with two slots, as RAUC writes them.
            for place, name in enumerate(reversed(order), 1):
                wanted[name] = _Target(10 * place, wanted[name].attempts)
        data = bytearray(state.data)
        for name, target in wanted.items():
            at = layout.variables[f"{self._prefix}.{name}.priority"]
            struct.pack_into("=I", data, at, target.priority)
            at = layout.variables[f"{self._prefix}.{name}.remaining_attempts"]
            struct.pack_into("=I", data, at, target.attempts)
        if bytes(data) != state.data:
            write_state(self._device, self._offset, layout, state, bytes(data))


def _slot(name: str, target: _Target) -> SlotBoot:
    if not target.priority:
        return SlotBoot(name, SlotState.BAD)
    if target.attempts > MAX_TRIES:
        return SlotBoot(name, SlotState.GOOD)
    return SlotBoot(name, SlotState.TRYING, target.attempts)

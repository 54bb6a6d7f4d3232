# SPDX-License-Identifier: Apache-2.0
"""Plain UEFI: the firmware's own boot manager picks the slot, without any loader between.

Source: UEFI specification 2.10, section 3.1.1 and 3.3: `BootNext` (u16) is started once and deleted
before it is; else the entries of `BootOrder` (u16 each) in turn; `BootCurrent` is what was started.

    GOOD     in BootOrder
    TRYING   BootNext, or running from it; not in BootOrder. One try: the firmware cannot count
    BAD      neither; or there is no active entry of this name

`BootNext` is one-shot, so a trial falls back by itself, whatever it does. Entries themselves are
never changed; `create_entry` makes them, in the factory.

EDK II takes numbers for its own entries that do not stand in BootOrder, whether or not there is
such an entry (BmGetFreeOptionNumber): it would overwrite a slot that is on trial. It takes the
lowest, so `create_entry` begins at 0100, and slots with lower numbers are told as a weakness.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from boot import load_option
from boot.bootloader import BootState, SlotBoot, SlotState, unknown_slot
from boot.efivars import EFIVARS, GLOBAL, EfiVariables
from boot.errors import EnvironmentFault, EnvironmentInvalid
from boot.load_option import LoadOption, Partition
from boot.settings import checked_slots, checked_tries

NUMBER = re.compile(r"[0-9A-F]{4}")
ENTRY = re.compile(r"Boot([0-9A-F]{4})")
FIRST_NUMBER = 0x0100
"""More entries than any firmware makes of its own."""
ENTRY_HINT = "make the entry with `boot.uefi.create_entry` or `efibootmgr --create-only`"


@dataclass(frozen=True, slots=True)
class _Reading:
    """The variables as they are. Entries that are no load option are left out, and told."""

    order: tuple[int, ...]
    next: int | None
    current: int | None
    entries: dict[int, LoadOption]
    numbers: dict[str, int | None]
    warnings: tuple[str, ...]

    def slot_of(self, number: int | None) -> str | None:
        for name, own in self.numbers.items():
            if own is not None and own == number:
                return name
        return None

    def starts(self, number: int) -> bool:
        return number in self.entries and self.entries[number].active


class Uefi:
    """See `boot.bootloader.Bootloader`.

    Args:
        slots: each the number of an entry, four upper-case hexadecimal digits, or else its
            description; of equal descriptions the first one in BootOrder counts, else the lowest.
        efivars: where efivarfs is mounted.

    Raises:
        BootSettingInvalid: a name that cannot be.
    """

    kind = "uefi"
    counts = False

    def __init__(self, slots: Sequence[str], efivars: Path = EFIVARS) -> None:
        self.slots = checked_slots(slots, r"[^\0]+")
        self._variables = EfiVariables(efivars)

    def running(self) -> str | None:
        """See `Bootloader`."""
        reading = self._read()
        return reading.slot_of(reading.current)

    def read(self) -> BootState:
        """See `Bootloader`. There are no counts: `tries_left` is always None."""
        reading = self._read()
        first = next((number for number in reading.order if reading.starts(number)), None)
        warnings = list(reading.warnings)
        if reading.next is not None and not reading.starts(reading.next):
            warnings.append(f"BootNext is {reading.next:04X}, which is not there or inactive")
        for number in reading.order:
            if number not in reading.entries:
                warnings.append(f"BootOrder names {number:04X}, which is not there")
        ours = [slot for number in reading.order if (slot := reading.slot_of(number))]
        if first is not None and reading.slot_of(first) is None:
            description = reading.entries[first].description
            warnings.append(f"the firmware starts {first:04X} ({description!r}) before the slots")
        trial = reading.slot_of(reading.next)
        return BootState(
            slots=tuple(SlotBoot(name, self._state(reading, name)) for name in self.slots),
            primary=trial or (ours[0] if ours else None),
            next=self._next(reading, first),
            warnings=tuple(warnings),
        )

    def set_primary(self, slot: str, tries: int) -> None:
        """See `Bootloader`. One try, whatever `tries` says.

        Raises:
            EnvironmentInvalid: there is no active entry of this name.
        """
        checked_tries(tries)
        reading = self._read()
        number = self._number(reading, slot)
        # Out of the order first: unproved, it must not be what the firmware falls back to.
        self._set_order(reading, [other for other in reading.order if other != number])
        self._variables.write("BootNext", GLOBAL, struct.pack("<H", number))

    def mark_good(self, slot: str) -> None:
        """See `Bootloader`.

        Raises:
            EnvironmentInvalid: there is no active entry of this name.
        """
        reading = self._read()
        number = self._number(reading, slot)
        others = [other for other in reading.order if other != number]
        self._set_order(reading, [number, *others])
        if reading.slot_of(reading.next) is not None:
            self._variables.delete("BootNext", GLOBAL)

    def mark_bad(self, slot: str) -> None:
        """See `Bootloader`. The entry itself stays."""
        if slot not in self.slots:
            raise unknown_slot(slot, self.slots)
        reading = self._read()
        number = reading.numbers[slot]
        if number is None:
            return
        if reading.next == number:
            self._variables.delete("BootNext", GLOBAL)
        self._set_order(reading, [other for other in reading.order if other != number])

    def reboot_argument(self) -> str | None:
        """See `Bootloader`."""
        return None

    def weaknesses(self) -> tuple[str, ...]:
        """See `Bootloader`."""
        found = ["the firmware counts nothing: a good slot that fails is started for ever"]
        if not self._variables.writable():
            found.append(f"{self._variables.folder} cannot be written: no slot can be changed")
        for slot, number in self._read().numbers.items():
            if number is not None and number < FIRST_NUMBER:
                found.append(
                    f"slot {slot!r} is Boot{number:04X}: while it is not in BootOrder, the firmware"
                    f" may take that number; from {FIRST_NUMBER:04X} on it does not"
                )
        return tuple(found)

    def _state(self, reading: _Reading, slot: str) -> SlotState:
        number = reading.numbers[slot]
        if number is None or not reading.starts(number):
            return SlotState.BAD
        if number in reading.order:
            # Armed though it is in the order: somebody else did it, but a trial is a trial.
            return SlotState.TRYING if reading.next == number else SlotState.GOOD
        return SlotState.TRYING if number in (reading.next, reading.current) else SlotState.BAD

    def _next(self, reading: _Reading, first: int | None) -> str | None:
        if reading.next is not None and reading.starts(reading.next):
            return reading.slot_of(reading.next)
        for number in reading.order:
            if reading.starts(number) and (slot := reading.slot_of(number)):
                return slot
        return None

    def _number(self, reading: _Reading, slot: str) -> int:
        if slot not in self.slots:
            raise unknown_slot(slot, self.slots)
        number = reading.numbers[slot]
        if number is None or not reading.starts(number):
            raise EnvironmentInvalid(
                f"the firmware has no active boot entry {slot!r}", hint=ENTRY_HINT
            )
        return number

    def _set_order(self, reading: _Reading, order: Sequence[int]) -> None:
        if tuple(order) != reading.order:
            if order:
                self._variables.write("BootOrder", GLOBAL, struct.pack(f"<{len(order)}H", *order))
            else:
                self._variables.delete("BootOrder", GLOBAL)

    def _read(self) -> _Reading:
        order = self._words("BootOrder")
        entries, warnings = {}, []
        for name in self._variables.names(GLOBAL):
            if match := ENTRY.fullmatch(name):
                option = load_option.parse(self._variables.read(name, GLOBAL) or b"")
                if option is None:
                    warnings.append(f"{name} is damaged: it is no load option")
                else:
                    entries[int(match[1], 16)] = option
        numbers: dict[str, int | None] = {}
        for slot in self.slots:
            numbers[slot] = number = _find(slot, order, entries)
            if number is None:
                warnings.append(f"the firmware has no boot entry {slot!r}")
            elif not entries[number].active:
                warnings.append(f"boot entry {slot!r} ({number:04X}) is inactive")
        following, current = self._words("BootNext"), self._words("BootCurrent")
        return _Reading(
            order=order,
            next=following[0] if following else None,
            current=current[0] if current else None,
            entries=entries,
            numbers=numbers,
            warnings=tuple(warnings),
        )

    def _words(self, name: str) -> tuple[int, ...]:
        value = self._variables.read(name, GLOBAL) or b""
        if len(value) % 2:
            raise EnvironmentInvalid(f"{name} has {len(value)} bytes, which are no numbers")
        return struct.unpack(f"<{len(value) // 2}H", value)


def create_entry(
    description: str,
    file: str,
    partition: Partition,
    command_line: str | None = None,
    efivars: Path = EFIVARS,
) -> int:
    """Make a boot entry, and return its number; an equal one that is there already is taken.

    It is not put into BootOrder: until `mark_good` or `set_primary` nothing starts it.

    Raises:
        BootloaderMissing, EnvironmentFault.
    """
    variables = EfiVariables(efivars)
    value = load_option.build(description, file, partition, command_line)
    taken = {name for name in variables.names(GLOBAL) if ENTRY.fullmatch(name)}
    for name in sorted(taken):
        if variables.read(name, GLOBAL) == value:
            return int(name[4:], 16)
    for number in range(FIRST_NUMBER, 0x10000):
        if f"Boot{number:04X}" not in taken:
            variables.write(f"Boot{number:04X}", GLOBAL, value)
            return number
    raise EnvironmentFault("all numbers of boot entries are taken")


def _find(slot: str, order: Sequence[int], entries: dict[int, LoadOption]) -> int | None:
    """Return the number of a slot's entry."""
    if NUMBER.fullmatch(slot):
        return int(slot, 16) if int(slot, 16) in entries else None
    found = [number for number, entry in sorted(entries.items()) if entry.description == slot]
    return next((number for number in order if number in found), found[0] if found else None)

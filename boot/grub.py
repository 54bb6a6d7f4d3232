# SPDX-License-Identifier: Apache-2.0
"""GRUB: three kinds of variables in its environment block, and a script that goes by them.

    ORDER=B A    who is asked, in this order; a bad slot does not stand in it
    B_OK=0       1: boots without being counted
    B_LEFT=3     tries left, one digit; the script counts down before it loads the kernel

OK=0 and LEFT=0 of a slot in ORDER: its tries are used up. The script is `boot/data/grub.cfg`.
RAUC's (contrib/grub.conf) shares ORDER and A_OK with it, but knows one try only, A_TRY.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from boot.bootloader import MAX_TRIES, BootState, SlotBoot, SlotState, unknown_slot
from boot.command_line import COMMAND_LINE, slot_of
from boot.errors import BootError, EnvironmentInvalid
from boot.grubenv import LENGTH, REPAIR, Block, read_block, region_length, write_block
from boot.settings import checked_slots, checked_tries
from boot.storage import os_errors, replace_file

NAMES = r"[A-Za-z0-9_]+"
"""Names of slots become part of names of GRUB's variables."""


@dataclass(frozen=True, slots=True)
class _Count:
    ok: bool
    left: int


class Grub:
    """See `boot.bootloader.Bootloader`.

    Args:
        environment: the file `grubenv`, on a file system that GRUB can write.
        slots: names of letters, digits and underscores.
        command_line: where `caflip.slot=` or `rauc.slot=` stands.

    Raises:
        BootSettingInvalid: a name that cannot be, or more of them than the first sector can hold.
    """

    kind = "grub"
    counts = True

    def __init__(
        self, environment: Path, slots: Sequence[str], command_line: Path = COMMAND_LINE
    ) -> None:
        self.slots = checked_slots(slots, NAMES)
        self._path = environment
        self._command_line = command_line
        self._region = _region(self.slots)

    def running(self) -> str | None:
        """See `Bootloader`."""
        return slot_of(self._command_line, self.slots)

    def read(self) -> BootState:
        """See `Bootloader`. A slot whose tries are used up is TRYING with 0 left."""
        _, block = read_block(self._path)
        order, counts, warnings = self._parse(block)
        found = {name: _slot(name, order, counts[name]) for name in self.slots}
        return BootState(
            slots=tuple(found.values()),
            primary=order[0] if order else None,
            next=next((name for name in order if found[name].tries_left != 0), None),
            warnings=warnings,
        )

    def set_primary(self, slot: str, tries: int) -> None:
        """See `Bootloader`."""
        self._change(slot, _Count(ok=False, left=checked_tries(tries)), listed=True)

    def mark_good(self, slot: str) -> None:
        """See `Bootloader`."""
        self._change(slot, _Count(ok=True, left=0), listed=True)

    def mark_bad(self, slot: str) -> None:
        """See `Bootloader`."""
        self._change(slot, _Count(ok=False, left=0), listed=False)

    def reboot_argument(self) -> str | None:
        """See `Bootloader`."""
        return None

    def weaknesses(self) -> tuple[str, ...]:
        """See `Bootloader`."""
        found = ["GRUB's environment has no checksum: a flipped bit in a value is not noticed"]
        try:
            with os_errors(self._path):
                blocks = os.stat(self._path).st_blocks
        except BootError as error:
            return (*found, str(error))
        if blocks == 0:
            found.append(f"{self._path} has no blocks of its own: GRUB cannot write it to count")
        return tuple(found)

    def _parse(self, block: Block) -> tuple[list[str], dict[str, _Count], tuple[str, ...]]:
        """Return our slots in order, every slot's count, and what is odd.

        Raises:
            EnvironmentInvalid: one of our variables is missing or none that we write.
        """
        variables, warnings = block.variables(), []
        text = self._variable(variables, "ORDER")
        if not re.fullmatch(r"[A-Za-z0-9_ ]*", text):
            # Also because GRUB and Python differ in which other characters are blanks.
            raise EnvironmentInvalid(f"{self._path}: ORDER is {text!r}", hint=REPAIR)
        order = text.split()
        ours = list(dict.fromkeys(name for name in order if name in self.slots))
        if ours != order:
            warnings.append(f"ORDER is {' '.join(order)!r}; the slots are {' '.join(self.slots)}")
        counts = {}
        for name in self.slots:
            ok = self._variable(variables, f"{name}_OK", "01")
            left = self._variable(variables, f"{name}_LEFT", "01234567")
            counts[name] = _Count(ok == "1", int(left))
        return ours, counts, tuple(warnings)

    def _variable(self, variables: Mapping[str, str], name: str, digits: str = "") -> str:
        value = variables.get(name)
        if value is None:
            raise EnvironmentInvalid(f"{self._path}: {name} is missing", hint=REPAIR)
        if digits and (len(value) != 1 or value not in digits):
            raise EnvironmentInvalid(f"{self._path}: {name} is {value!r}", hint=REPAIR)
        return value

    def _change(self, slot: str, count: _Count, *, listed: bool) -> None:
        if slot not in self.slots:
            raise unknown_slot(slot, self.slots)
        data, block = read_block(self._path)
        order, counts, _ = self._parse(block)
        before = _variables(self.slots, order, counts)
        if not block.first_sector_holds(set(before)):
            # Another program moved them. First all to their place, with the values they have:
            # whatever a power cut leaves of this, each variable still says the same.
            moved = block.with_first(before, self._region)
            write_block(self._path, data, moved)
            data, block = moved, Block.parse(moved, self._path)
        order = [name for name in order if name != slot]
        after = _variables(self.slots, [slot, *order] if listed else order, {**counts, slot: count})
        write_block(self._path, data, block.with_first(after, self._region))


def create_environment(
    path: Path, slots: Sequence[str], primary: str, good: Sequence[str] = ()
) -> None:
    """Write the environment of a new device, or of one whose environment is damaged.

    `primary` is good and first, then come those of `good`; of the others nothing is known: they
    are bad. Other programs' variables are kept where the old block can be believed.

    Raises:
        BootSettingInvalid, SlotUnknown, BootloaderMissing, EnvironmentFault.
    """
    names = checked_slots(slots, NAMES)
    for name in (primary, *good):
        if name not in names:
            raise unknown_slot(name, names)
    order = list(dict.fromkeys((primary, *good)))
    counts = {name: _Count(name in order, 0) for name in names}
    old: bytes | None = None
    try:
        old, block = read_block(path)
    except EnvironmentInvalid:
        block = Block(())
    try:
        new = block.with_first(_variables(names, order, counts), _region(names))
    except EnvironmentInvalid:
        new = Block(()).with_first(_variables(names, order, counts), _region(names))
    if old is not None:
        write_block(path, old, new)
        return
    assert len(new) == LENGTH
    replace_file(path, new)
    # GRUB does not replay a journal: it finds the new file once the journal has been emptied.
    os.sync()


def _region(slots: Sequence[str]) -> int:
    return region_length(
        _variables(slots, slots, {name: _Count(False, MAX_TRIES) for name in slots})
    )


def _variables(
    slots: Sequence[str], order: Sequence[str], counts: Mapping[str, _Count]
) -> dict[str, str]:
    found = {"ORDER": " ".join(order)}
    for name in slots:
        found[f"{name}_OK"] = str(int(counts[name].ok))
        found[f"{name}_LEFT"] = str(counts[name].left)
    return found


def _slot(name: str, order: Sequence[str], count: _Count) -> SlotBoot:
    if name not in order:
        return SlotBoot(name, SlotState.BAD)
    if count.ok:
        return SlotBoot(name, SlotState.GOOD)
    return SlotBoot(name, SlotState.TRYING, count.left)

# SPDX-License-Identifier: Apache-2.0
"""U-Boot: three kinds of variables in its stored environment, and a script that goes by them.

    BOOT_ORDER=B A   who is asked, in this order; a bad slot does not stand in it
    BOOT_B_OK=0      1: boots without being counted
    BOOT_B_LEFT=3    tries left, one hexadecimal digit; the script counts down before it loads

OK=0 and LEFT=0 of a slot in BOOT_ORDER: its tries are used up. BOOT_ORDER and BOOT_x_LEFT are those
of RAUC (contrib/uboot.sh), whose scripts count every boot: BOOT_x_OK means nothing to them, so
`mark_good` fills LEFT up as well. The script is `boot/data/uboot.cmd`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from boot.bootloader import BootState, SlotBoot, SlotState, unknown_slot
from boot.command_line import COMMAND_LINE, slot_of
from boot.errors import BootSettingInvalid
from boot.settings import checked_slots, checked_tries
from boot.uboot_environment import CONFIG, StoredEnvironment

NOBODY = "none"
"""BOOT_ORDER when all slots are bad: U-Boot cannot store a variable without a value."""

DEFAULT_TRIES = 3
"""As in `boot/data/uboot.cmd` and in RAUC's scripts."""

SCRIPTS = ("caflip", "rauc")


@dataclass(frozen=True, slots=True)
class _Count:
    ok: bool
    left: int


class UBoot:
    """See `boot.bootloader.Bootloader`.

    Args:
        slots: names of letters, digits and underscores: they become part of variables' names.
        config: fw_env.config, which says where the environment is.
        command_line: where `caflip.slot=` or `rauc.slot=` stands.
        tries: what `mark_good` sets BOOT_x_LEFT to, and what a slot has before anything is stored.
        script: which script U-Boot runs, `caflip` or `rauc`.
        environment: instead of what `config` describes.

    Raises:
        BootSettingInvalid: one of these makes no sense.
    """

    kind = "uboot"
    counts = True

    def __init__(
        self,
        slots: Sequence[str],
        *,
        config: Path = CONFIG,
        command_line: Path = COMMAND_LINE,
        tries: int = DEFAULT_TRIES,
        script: str = "caflip",
        environment: StoredEnvironment | None = None,
    ) -> None:
        self.slots = checked_slots(slots, r"[A-Za-z0-9_]+")
        if NOBODY in self.slots or script not in SCRIPTS:
            raise BootSettingInvalid(
                f"no slot is called {NOBODY!r}, and the script is one of {', '.join(SCRIPTS)}"
            )
        self._config = config
        self._command_line = command_line
        self._tries = checked_tries(tries)
        self._counts_good = script == "rauc"
        self._given = environment

    def running(self) -> str | None:
        """See `Bootloader`."""
        return slot_of(self._command_line, self.slots)

    def read(self) -> BootState:
        """See `Bootloader`. A slot whose tries are used up is TRYING with 0 left."""
        environment = self._environment().read()
        order, counts, warnings = self._parse(environment.variables)
        found = [self._slot(name, order, counts[name]) for name in self.slots]
        by_name = {slot.name: slot for slot in found}
        ours = [name for name in order if name in by_name]
        return BootState(
            slots=tuple(found),
            primary=ours[0] if ours else None,
            next=next((name for name in ours if by_name[name].tries_left != 0), None),
            warnings=environment.warnings + warnings,
        )

    def set_primary(self, slot: str, tries: int) -> None:
        """See `Bootloader`."""
        self._change(slot, _Count(ok=False, left=checked_tries(tries)), listed=True)

    def mark_good(self, slot: str) -> None:
        """See `Bootloader`."""
        self._change(slot, _Count(ok=True, left=self._tries), listed=True)

    def mark_bad(self, slot: str) -> None:
        """See `Bootloader`."""
        self._change(slot, _Count(ok=False, left=0), listed=False)

    def reboot_argument(self) -> str | None:
        """See `Bootloader`."""
        return None

    def weaknesses(self) -> tuple[str, ...]:
        """See `Bootloader`."""
        found = self._environment().weaknesses()
        if self._counts_good:
            found += (
                "RAUC's script counts the boots of a good slot too: switched off while it starts,"
                f" {self._tries} times in a row, it is given up",
            )
        return found

    def _environment(self) -> StoredEnvironment:
        return self._given or StoredEnvironment.configured(self._config)

    def _slot(self, name: str, order: Sequence[str], count: _Count) -> SlotBoot:
        if name not in order:
            return SlotBoot(name, SlotState.BAD)
        if count.ok and (count.left or not self._counts_good):
            return SlotBoot(name, SlotState.GOOD)
        return SlotBoot(name, SlotState.TRYING, count.left)

    def _parse(
        self, variables: Mapping[str, str]
    ) -> tuple[list[str], dict[str, _Count], tuple[str, ...]]:
        """Return the order with foreign names in it, every slot's count, and what is odd.

        Before anything is stored, every slot has its tries, in the order of the configuration.
        What is missing in a stored environment counts as RAUC's scripts do, or as nothing.
        """
        stored = "BOOT_ORDER" in variables
        order = list(dict.fromkeys(variables.get("BOOT_ORDER", " ".join(self.slots)).split()))
        missing = 0 if stored and not self._counts_good else self._tries
        counts, warnings = {}, []
        for name in self.slots:
            text = variables.get(f"BOOT_{name}_LEFT")
            if text is not None and not re.fullmatch(r"[0-9a-f]", text):
                warnings.append(
                    f"BOOT_{name}_LEFT is {text!r}, not one hexadecimal digit; taken as 0"
                )
                text = "0"
            left = missing if text is None else int(text, 16)
            counts[name] = _Count(variables.get(f"BOOT_{name}_OK") == "1", left)
        return order, counts, tuple(warnings)

    def _change(self, slot: str, count: _Count, *, listed: bool) -> None:
        if slot not in self.slots:
            raise unknown_slot(slot, self.slots)
        environment = self._environment()

        def wanted(variables: Mapping[str, str]) -> dict[str, str]:
            order, counts, _ = self._parse(variables)
            counts[slot] = count
            order = [name for name in order if name not in (slot, NOBODY)]
            text = " ".join([slot, *order] if listed else order) or NOBODY
            if environment.in_place:
                # Values of equal length move nothing behind them: the change stays in one sector.
                text = text.ljust(len(variables.get("BOOT_ORDER", "")))
            changes = {"BOOT_ORDER": text}
            for name in self.slots:
                # All of them: the script knows no defaults once an order is stored.
                changes[f"BOOT_{name}_OK"] = str(int(counts[name].ok))
                changes[f"BOOT_{name}_LEFT"] = f"{counts[name].left:x}"
            return changes

        environment.change(wanted)

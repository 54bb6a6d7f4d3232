# SPDX-License-Identifier: Apache-2.0
"""systemd-boot: the slot is chosen by one EFI variable, and counted by the names of files.

    LoaderEntryDefault = slot-b[.+][1-9ce]*

is matched by `slot-b.conf` (good) and `slot-b+2-1.conf` (tries left), by the same names with
`.efi`, and not by `slot-b+0-3.conf`. So the slot that it names boots while it is good or has
tries; then the variable matches nothing, and systemd-boot takes the first entry in its own order,
where entries without tries come last. Each change is one step: one file's name, or the variable.

A default that names an entry outright (by the menu's `d`, `bootctl set-default`, loader.conf)
boots it even without tries left, for ever. What is in a variable is told and replaced; loader.conf
is the integrator's, so as long as it stands in the way nothing is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

from boot.bootloader import BootState, SlotBoot, SlotState, unknown_slot
from boot.efivars import EFIVARS, LOADER, EfiVariables
from boot.errors import BootSettingInvalid, EnvironmentInvalid
from boot.loader_entries import NAME, Entry, in_order, read_entries, read_settings, select
from boot.settings import checked_slots, checked_tries
from boot.storage import SHARED, discard, rename

DEFAULT, ONE_SHOT, PREFERRED = "LoaderEntryDefault", "LoaderEntryOneShot", "LoaderEntryPreferred"
SAVED = "@saved"
FOLDERS = ("loader/entries", "EFI/Linux")


@dataclass(frozen=True, slots=True)
class _Reading:
    """Files and variables as they are."""

    entries: tuple[Entry, ...]
    slots: dict[str, tuple[Entry, ...]]
    default: str | None
    one_shot: str | None
    preferred: str | None
    settings: dict[str, str]

    def slot_of(self, entry: Entry | None) -> str | None:
        stem = None if entry is None else entry.stem
        return next((name for name in self.slots if name.lower() == stem), None)


class SystemdBoot:
    """See `boot.bootloader.Bootloader`.

    Args:
        boot: where the partition with `loader/entries/` and `EFI/Linux/` is mounted.
        slots: names of entries, without counter and suffix.
        efivars: where efivarfs is mounted.
        esp: where the partition with `loader/loader.conf` is mounted, if it is another one.

    Raises:
        BootSettingInvalid: a name that cannot be, or one that another one's pattern matches.
    """

    kind = "systemd-boot"
    counts = True

    def __init__(
        self,
        boot: Path,
        slots: Sequence[str],
        efivars: Path = EFIVARS,
        esp: Path | None = None,
    ) -> None:
        self.slots = checked_slots(slots, r"(?!auto-)[A-Za-z0-9_][A-Za-z0-9_.-]*")
        names = [f"{name}{rest}".lower() for name in self.slots for rest in (".conf", "+1.efi")]
        for name in self.slots:
            if sum(fnmatchcase(other, pattern_of(name)) for other in names) != 2:
                raise BootSettingInvalid(f"the name {name!r} is the beginning of another slot's")
        self._boot = boot
        self._settings = (esp or boot) / "loader/loader.conf"
        self._variables = EfiVariables(efivars)

    def running(self) -> str | None:
        """See `Bootloader`."""
        selected = self._variables.read_text("LoaderEntrySelected", LOADER)
        match = NAME.fullmatch(selected or "")
        stem = match["stem"].lower() if match else None
        return next((name for name in self.slots if name.lower() == stem), None)

    def read(self) -> BootState:
        """See `Bootloader`. A slot whose tries are used up is TRYING with 0 left."""
        reading = self._read()
        chosen = _chosen(reading)
        slot = reading.slot_of(chosen)
        warnings = _oddities(reading)
        if chosen is not None and slot is None:
            warnings.append(f"{chosen.path.name} boots, which is no slot")
        found = tuple(SlotBoot(name, *_state(reading, name)) for name in self.slots)
        state = next((one for one in found if one.name == slot), None)
        if state is not None and state.state is not SlotState.GOOD and not state.tries_left:
            warnings.append(f"slot {slot} boots although it has no tries left: there is no other")
        primary = _designated(reading)
        if primary is not None:
            after = _chosen(_used_up(reading, primary))
            if after is not None and reading.slot_of(after) is None and slot == primary:
                warnings.append(f"if slot {primary} fails, {after.path.name} boots: it is no slot")
        return BootState(found, primary or slot, slot, tuple(warnings))

    def set_primary(self, slot: str, tries: int) -> None:
        """See `Bootloader`.

        Raises:
            EnvironmentInvalid: the slot has no entry that systemd-boot would list.
            BootSettingInvalid: loader.conf would keep it from falling back.
        """
        self._change(slot, checked_tries(tries), primary=True)

    def mark_good(self, slot: str) -> None:
        """See `Bootloader`. Raises as `set_primary` does."""
        self._change(slot, None, primary=True)

    def mark_bad(self, slot: str) -> None:
        """See `Bootloader`. Raises as `set_primary` does."""
        self._change(slot, 0, primary=False)

    def reboot_argument(self) -> str | None:
        """See `Bootloader`."""
        return None

    def weaknesses(self) -> tuple[str, ...]:
        """See `Bootloader`."""
        found = ["two names for one slot, after a power cut, stop the counting until they are one"]
        if not self._variables.writable():
            found.append(f"{self._variables.folder} cannot be written: no slot can be chosen")
        reading = self._read()
        if (why := _override(reading)) is not None:
            found.append(why)
        for folder in FOLDERS:
            found += [
                f"{path} has the clusters of a boot entry, since a power cut: it must not be"
                " removed by hand; fsck.vfat parts them"
                for path in sorted((self._boot / folder).glob(f"*{SHARED}*"))
            ]
        return tuple(found)

    def _read(self) -> _Reading:
        entries = read_entries(self._boot)
        return _Reading(
            entries=entries,
            slots={
                name: tuple(entry for entry in entries if entry.stem == name.lower())
                for name in self.slots
            },
            default=self._resolved(self._variables.read_text(DEFAULT, LOADER)),
            one_shot=self._variables.read_text(ONE_SHOT, LOADER),
            preferred=self._variables.read_text(PREFERRED, LOADER),
            settings=read_settings(self._settings),
        )

    def _resolved(self, pattern: str | None) -> str | None:
        if pattern != SAVED:
            return pattern
        return self._variables.read_text("LoaderEntryLastBooted", LOADER)

    def _change(self, slot: str, left: int | None, *, primary: bool) -> None:
        if slot not in self.slots:
            raise unknown_slot(slot, self.slots)
        reading = self._read()
        files = reading.slots[slot]
        if not files and not primary:
            return
        if not files or (primary and files[0].flaw is not None):
            why = files[0].flaw if files else "no file of this name in loader/entries or EFI/Linux"
            raise EnvironmentInvalid(
                f"slot {slot} has no boot entry: {why}", hint="put the entry there first"
            )
        if (override := _override(reading)) is not None:
            raise BootSettingInvalid(override, hint=f"take that line out of {self._settings}")
        self._rename(files, left)
        if primary:
            self._variables.write_text(DEFAULT, LOADER, pattern_of(slot))
        elif reading.default is not None and _designated(reading) == slot:
            # By a name outright it would boot without tries as well.
            self._variables.write_text(DEFAULT, LOADER, pattern_of(slot))
        for name in (ONE_SHOT, PREFERRED):
            self._variables.delete(name, LOADER)

    def _rename(self, files: Sequence[Entry], left: int | None) -> None:
        """Give a slot's file another counter; what a power cut left beside it is removed."""
        kept, *strays = files
        target = kept.path
        if (kept.left, kept.done) != (left, 0):
            target = kept.path.with_name(kept.named(left))
            rename(kept.path, target)
        for stray in strays:
            if stray.path != target:
                discard(stray.path, target)


def pattern_of(slot: str) -> str:
    """Return what `LoaderEntryDefault` is for a slot; see the module's text."""
    return f"{slot.lower()}[.+][1-9ce]*"


def _chosen(reading: _Reading) -> Entry | None:
    configured = reading.settings.get("default")
    return select(reading.entries, reading.one_shot, reading.preferred, reading.default, configured)


def _designated(reading: _Reading) -> str | None:
    """Return the slot that the default of the EFI variable means, bootable or not."""
    for name, own in reading.slots.items():
        if reading.default is not None and (
            reading.default.lower() == pattern_of(name)
            or any(fnmatchcase(entry.id, reading.default.lower()) for entry in own)
        ):
            return name
    return None


def _used_up(reading: _Reading, slot: str) -> _Reading:
    """Return what would be read when all tries of a slot are used up."""
    entries = tuple(
        replace(entry, path=entry.path.with_name(entry.named(0)), left=0)
        if entry in reading.slots[slot]
        else entry
        for entry in reading.entries
    )
    return replace(reading, entries=in_order(entries), one_shot=None)


def _override(reading: _Reading) -> str | None:
    """Return, in words, what in loader.conf would boot a slot that has no tries left."""
    if "preferred" in reading.settings:
        return "loader.conf has `preferred`, which goes before the slot that is chosen here"
    default = reading.settings.get("default", "").lower()
    for own in reading.slots.values():
        for entry in own:
            spent = entry.named(0).lower().replace("+0.", "+0-1.")
            if default == SAVED or fnmatchcase(spent, default):
                return f"`default {default}` in loader.conf boots slots without tries left"
    return None


def _oddities(reading: _Reading) -> list[str]:
    found = []
    for name, own in reading.slots.items():
        if not own:
            found.append(f"slot {name} has no boot entry")
        elif own[0].flaw is not None:
            found.append(f"{own[0].path.name} is not listed by systemd-boot: {own[0].flaw}")
        if len(own) > 1:
            names = ", ".join(entry.path.name for entry in own)
            found.append(f"slot {name} has {len(own)} boot entries: {names}; the first one counts")
    patterns = [pattern_of(name) for name in reading.slots]
    if reading.default is not None and reading.default.lower() not in patterns:
        found.append(f"{DEFAULT} is {reading.default!r}: what it names boots without being counted")
    for name, value in ((ONE_SHOT, reading.one_shot), (PREFERRED, reading.preferred)):
        if value is not None:
            found.append(f"{name} is {value!r}: it goes before the slot that is chosen here")
    if (why := _override(reading)) is not None:
        found.append(why)
    return found


def _state(reading: _Reading, slot: str) -> tuple[SlotState, int | None]:
    own = reading.slots[slot]
    if not own or own[0].flaw is not None:
        return SlotState.BAD, None
    if own[0].left is None:
        return SlotState.GOOD, None
    if own[0].left == 0 and own[0].done == 0:
        return SlotState.BAD, None
    return SlotState.TRYING, own[0].left

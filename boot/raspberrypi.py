# SPDX-License-Identifier: Apache-2.0
"""Raspberry Pi firmware: autoboot.txt names a boot partition for always and one for a single trial.

    [all]
    tryboot_a_b=1
    boot_partition=2        every start, but
    [tryboot]
    boot_partition=3        the one after a reboot with the argument `0 tryboot`
    [none]
    caflip_trying=3         for us: what the firmware has no room for
    caflip_boot=<id>        the boot of Linux in which this trial was armed

Nothing under `[none]` ever applies, so the firmware passes over it. The flag that a reboot sets is
in the chip and gone after one start: whatever happens in a trial, the next start is `[all]` again.
There is no fallback beside that: where `[all]` is broken, nothing else is tried.

Source: Raspberry Pi documentation, config.txt, "The autoboot.txt file" (512 bytes; filters [all],
[none] and [tryboot]) and "The tryboot flow"; device tree, "bootloader" under /chosen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from boot.bootloader import BootState, SlotBoot, SlotState, unknown_slot
from boot.command_line import COMMAND_LINE, slot_of
from boot.errors import (
    BootloaderMissing,
    BootSettingInvalid,
    EnvironmentFault,
    EnvironmentInvalid,
)
from boot.settings import checked_slots, checked_tries
from boot.storage import read_at, replace_file

AUTOBOOT = Path("/boot/autoboot/autoboot.txt")
DEVICE_TREE = Path("/proc/device-tree")
BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
SIZE_LIMIT = 512
REBOOT_ARGUMENT = "0 tryboot"
SECTIONS = ("all", "tryboot", "none")


@dataclass(slots=True)
class _Autoboot:
    """The file: the partitions, our notes, and lines that are none of our business."""

    all: int | None = None
    tryboot: int | None = None
    trying: int | None = None
    boot: str = ""
    bad: set[int] = field(default_factory=set)
    other: dict[str, list[str]] = field(default_factory=dict)


class RaspberryPi:
    """See `boot.bootloader.Bootloader`.

    Args:
        slots: the names of the slots.
        partitions: number of the boot partition of each; None: the names are the numbers.
        autoboot: autoboot.txt, on the first partition of the disk, mounted.
        device_tree: where the firmware tells what it started.
        boot_id: tells one boot of Linux from another.
        command_line: what the kernel was started with.

    Raises:
        BootSettingInvalid: one of these makes no sense.
    """

    kind = "raspberrypi"
    counts = False

    def __init__(
        self,
        slots: Sequence[str],
        *,
        partitions: Mapping[str, int] | None = None,
        autoboot: Path = AUTOBOOT,
        device_tree: Path = DEVICE_TREE,
        boot_id: Path = BOOT_ID,
        command_line: Path = COMMAND_LINE,
    ) -> None:
        self.slots = checked_slots(slots)
        if partitions is None:
            if not all(name.isascii() and name.isdecimal() for name in slots):
                raise BootSettingInvalid("partitions: the boot partition of each slot is not said")
            partitions = {name: int(name) for name in slots}
        numbers = [partitions.get(name, 0) for name in slots]
        if min(numbers) < 1 or len(set(numbers)) != len(numbers):
            raise BootSettingInvalid("partitions: each slot has one of its own, from 1 up")
        self._partitions = dict(zip(self.slots, numbers, strict=True))
        self._autoboot = autoboot
        self._bootloader = device_tree / "chosen/bootloader"
        self._boot_id = boot_id
        self._command_line = command_line

    def running(self) -> str | None:
        """See `Bootloader`."""
        number = self._told("partition")
        for name, partition in self._partitions.items():
            if partition == number:
                return name
        return slot_of(self._command_line, self.slots)

    def read(self) -> BootState:
        """See `Bootloader`. `next` is for a reboot with `reboot_argument`; a reset boots `[all]`.

        A slot that is being tried has 1 try left until Linux has been started anew, then 0.
        """
        found = self._load()
        armed = self._armed(found)
        slots = []
        for name, partition in self._partitions.items():
            if partition == found.trying:
                slots.append(SlotBoot(name, SlotState.TRYING, int(armed)))
            elif partition in found.bad:
                slots.append(SlotBoot(name, SlotState.BAD))
            else:
                slots.append(SlotBoot(name, SlotState.GOOD))
        always = self._name(found.all)
        trial = self._name(found.trying)
        return BootState(tuple(slots), primary=trial or always, next=trial if armed else always)

    def set_primary(self, slot: str, tries: int) -> None:
        """See `Bootloader`. Armed for a reboot out of this boot of Linux only, and for one."""
        checked_tries(tries)
        partition = self._partition(slot)
        found = self._load()
        if partition == found.all and partition not in found.bad:
            # It boots as it is: the firmware cannot try what it always starts.
            found.trying, found.boot = None, ""
        else:
            found.tryboot = found.trying = partition
            found.boot = self._this_boot()
            found.bad.discard(partition)
        self._store(found)

    def mark_good(self, slot: str) -> None:
        """See `Bootloader`. The swap: what was booted always is kept for `[tryboot]`."""
        partition = self._partition(slot)
        found = self._load()
        if found.all != partition:
            found.tryboot = found.all if found.all not in found.bad else None
        found.all = partition
        found.trying, found.boot = None, ""
        found.bad.discard(partition)
        self._store(found)

    def mark_bad(self, slot: str) -> None:
        """See `Bootloader`. The last slot is noted as bad and still starts: `[all]` names one."""
        partition = self._partition(slot)
        found = self._load()
        found.bad.add(partition)
        if found.trying == partition:
            found.trying, found.boot = None, ""
        if found.tryboot == partition:
            found.tryboot = None
        if found.all == partition:
            others = [number for number in self._partitions.values() if number not in found.bad]
            proved = [number for number in others if number != found.trying]
            if proved:
                found.all = proved[0]
                found.tryboot = found.tryboot if found.tryboot != proved[0] else None
        self._store(found)

    def reboot_argument(self) -> str | None:
        """See `Bootloader`."""
        return REBOOT_ARGUMENT if self._armed(self._load()) else None

    def weaknesses(self) -> tuple[str, ...]:
        """See `Bootloader`."""
        return (
            "the firmware tries a slot once, and only after a reboot by caflip; where the slot of"
            " [all] cannot start, it tries no other",
        )

    def _armed(self, found: _Autoboot) -> bool:
        """Tell whether the trial is still to come: armed in this very boot."""
        return found.trying is not None and found.boot == self._this_boot()

    def _this_boot(self) -> str:
        return read_at(self._boot_id, 0, 64).decode("ascii", "replace").strip()

    def _told(self, name: str) -> int | None:
        try:
            raw = read_at(self._bootloader / name, 0, 4)
        except (BootloaderMissing, EnvironmentFault):
            return None
        return int.from_bytes(raw, "big") if len(raw) == 4 else None

    def _partition(self, slot: str) -> int:
        if slot not in self._partitions:
            raise unknown_slot(slot, self.slots)
        return self._partitions[slot]

    def _name(self, partition: int | None) -> str | None:
        return next((name for name, n in self._partitions.items() if n == partition), None)

    def _load(self) -> _Autoboot:
        raw = read_at(self._autoboot, 0, SIZE_LIMIT + 1)
        if len(raw) > SIZE_LIMIT:
            raise EnvironmentInvalid(
                f"{self._autoboot}: the firmware reads {SIZE_LIMIT} bytes only"
            )
        found = parse(raw)
        if found.all not in self._partitions.values():
            raise EnvironmentInvalid(f"{self._autoboot}: boot_partition of [all] is no slot's")
        if found.trying is not None and found.trying != found.tryboot:
            raise EnvironmentInvalid(f"{self._autoboot}: [tryboot] is not the slot being tried")
        return found

    def _store(self, wanted: _Autoboot) -> None:
        data = render(wanted)
        if len(data) > SIZE_LIMIT:
            raise EnvironmentFault(
                f"{self._autoboot}: {len(data)} bytes, the firmware reads {SIZE_LIMIT}",
                hint="remove lines from autoboot.txt",
            )
        if data != render(self._load()):
            replace_file(self._autoboot, data)


def parse(raw: bytes) -> _Autoboot:
    """Read autoboot.txt. Of a setting that stands twice the last counts, as for the firmware.

    Raises:
        EnvironmentInvalid: a partition that is no number.
    """
    found = _Autoboot()
    section = "all"
    for line in raw.decode("utf-8", "surrogateescape").splitlines():
        text = line.strip()
        if text.startswith("[") and text.endswith("]"):
            section = text[1:-1].lower()
            continue
        name, _, value = (part.strip() for part in text.partition("="))
        match section, name:
            case "all", "boot_partition":
                found.all = _number(value)
            case "tryboot", "boot_partition":
                found.tryboot = _number(value)
            case "none", "caflip_trying":
                found.trying = _number(value)
            case "none", "caflip_boot":
                found.boot = value
            case "none", "caflip_bad":
                found.bad = {_number(word) for word in value.split()}
            case "all", "tryboot_a_b":
                pass
            case _ if text:
                found.other.setdefault(section, []).append(text)
    return found


def render(wanted: _Autoboot) -> bytes:
    """Return the whole file."""
    ours = {
        "all": ["tryboot_a_b=1", f"boot_partition={wanted.all}"],
        "tryboot": [f"boot_partition={wanted.tryboot}"] if wanted.tryboot is not None else [],
        "none": [],
    }
    if wanted.trying is not None:
        ours["none"] += [f"caflip_trying={wanted.trying}", f"caflip_boot={wanted.boot}"]
    if wanted.bad:
        ours["none"].append(f"caflip_bad={' '.join(str(number) for number in sorted(wanted.bad))}")
    lines = []
    for section in (*SECTIONS, *sorted(set(wanted.other) - set(SECTIONS))):
        content = ours.get(section, []) + wanted.other.get(section, [])
        if content:
            lines += [f"[{section}]", *content]
    return "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape")


def _number(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 4):
        raise EnvironmentInvalid(f"autoboot.txt: {text!r} is no partition")
    return int(text)

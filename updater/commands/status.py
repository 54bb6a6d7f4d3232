# SPDX-License-Identifier: Apache-2.0
"""How the slots stand: what each holds, what the bootloader thinks of it, which runs."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from updater.agent.status import Status, read_status
from updater.console import Console
from updater.device_options import add_device, machine_of
from updater.units import format_bytes


@dataclass(frozen=True, slots=True)
class SlotNamed:
    """What verbs print that did something to one slot."""

    slot: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command line may say."""
    add_device(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """Do it."""
    with machine_of(args, console, write=False) as machine:
        status = read_status(machine)
    console.result(status, _lines(status))
    return 0


def _lines(status: Status) -> list[str]:
    lines = [f"{status.compatible}, bootloader {status.bootloader}"]
    for slot in status.slots:
        marks = [
            word for word, is_so in (("runs", slot.running), ("boots next", slot.next)) if is_so
        ]
        tries = "" if slot.tries_left is None else f", {slot.tries_left} tries left"
        lines.append(
            f"slot {slot.boot}: {slot.boot_state.value}{tries}"
            + (f"  <- {', '.join(marks)}" if marks else "")
        )
        record = slot.record
        what = record.version or "nothing that is remembered"
        lines.append(f"  content: {what} ({record.content.value})")
        lines += [
            f"  {slot_class} came from: "
            + ", ".join(f"{format_bytes(n)} {name}" for name, n in image.bytes_by_source.items())
            for slot_class, image in record.images.items()
            if image.bytes_by_source
        ]
        if record.last_error:
            lines.append(f"  last error: {record.last_error}")
        for name, device in slot.devices.items():
            lines.append(f"  {name}: {device.device}, {format_bytes(device.length)}")
    lines.append(f"highest sequence proved good: {status.highest_sequence}")
    return lines

# SPDX-License-Identifier: Apache-2.0
"""Say that a slot is bad: it does not boot until something new is installed on it."""

from __future__ import annotations

import argparse

from updater.agent.proving import mark_bad
from updater.commands.status import SlotNamed
from updater.console import Console
from updater.device_options import add_device, machine_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command line may say."""
    parser.add_argument("slot", metavar="SLOT", help="its name, or the bootloader's")
    add_device(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """Do it."""
    with machine_of(args, console) as machine:
        group = machine.group(args.slot)
        mark_bad(machine, group, "marked bad by hand")
        console.result(SlotNamed(group.boot), [f"slot {group.boot} is bad"])
    return 0

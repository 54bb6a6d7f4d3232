# SPDX-License-Identifier: Apache-2.0
"""Say that the running slot is good: it boots from now on without being counted.

`caflip health` does so after its checks.
"""

from __future__ import annotations

import argparse

from updater.agent.proving import mark_good
from updater.commands.status import SlotNamed
from updater.console import Console
from updater.device_options import add_device, machine_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command line may say."""
    add_device(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """Do it."""
    with machine_of(args, console) as machine:
        name = mark_good(machine)
        console.result(SlotNamed(name), [f"slot {name} is good"])
    return 0

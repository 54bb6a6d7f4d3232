# SPDX-License-Identifier: Apache-2.0
"""Go back to the other slot, if it is proved good: it boots next and from then on.

Restart to get there. The release that is left is not installed again, unless by hand.
"""

from __future__ import annotations

import argparse

from updater.agent.proving import rollback
from updater.agent.reboot import reboot_after
from updater.commands.status import SlotNamed
from updater.console import Console
from updater.device_options import add_device, machine_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command line may say."""
    add_device(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """Do it."""
    with machine_of(args, console) as machine:
        name = rollback(machine)
        console.result(SlotNamed(name), [f"slot {name} boots next"])
        reboot_after(machine)
    return 0

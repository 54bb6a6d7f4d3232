# SPDX-License-Identifier: Apache-2.0
"""Let the slot that `caflip apply` filled boot next, with its tries.

The slot is read back and compared with its index once more. Exit status 3 if it is active already.
"""

from __future__ import annotations

import argparse

from updater.agent.finding import find_candidate, staged_fetch, staging_folder
from updater.agent.install import Outcome, activate_applied
from updater.agent.reboot import reboot_after
from updater.console import Console
from updater.device_options import EX_NOTHING, add_device, machine_of
from updater.update_text import report_lines


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command line may say."""
    add_device(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """Do it."""
    with machine_of(args, console) as machine:
        target = machine.target()
        location, fetch = staged_fetch(staging_folder(machine))
        candidate = find_candidate(machine, target, location, fetch)
        report = activate_applied(machine, target, candidate)
        console.result(report, report_lines(report))
        if report.outcome is not Outcome.ACTIVATED:
            return EX_NOTHING
        reboot_after(machine)
    return 0

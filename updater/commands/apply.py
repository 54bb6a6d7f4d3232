# SPDX-License-Identifier: Apache-2.0
"""Write what `caflip fetch` brought onto the inactive slot and prove it; it is not activated.

Release and indexes are proved again. Chunks come from the slots and the cache only.
"""

from __future__ import annotations

import argparse

from updater.agent.finding import find_candidate, staged_fetch, staging_folder
from updater.agent.install import Outcome, update
from updater.console import Console
from updater.device_options import EX_NOTHING, add_device, machine_of
from updater.update_text import report_lines


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command line may say."""
    add_device(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """Do it."""
    console.notifier.ready()
    with machine_of(args, console) as machine:
        target = machine.target()
        location, fetch = staged_fetch(staging_folder(machine))
        candidate = find_candidate(machine, target, location, fetch)
        report = update(machine, target, candidate, by_hand=True, activate=False, offline=True)
        console.result(report, report_lines(report))
    return 0 if report.outcome is Outcome.APPLIED else EX_NOTHING

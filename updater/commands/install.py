# SPDX-License-Identifier: Apache-2.0
"""Install one release, or one signed index, by name: a file, a stick, a URL.

Like `update`, but neither the roll-out nor earlier failures count. With --provision, for factories,
the slot counts as proved good and boots without being tried.
"""

from __future__ import annotations

import argparse
from dataclasses import replace

from updater.agent.finding import channel_of, find_candidate, remote_fetch
from updater.agent.install import Outcome, update
from updater.agent.proving import vouch_for
from updater.arguments import UsageError
from updater.console import Console
from updater.device_options import EX_NOTHING, add_device, add_slot, machine_of, target_of
from updater.update_text import report_lines

_DONE = (Outcome.ACTIVATED, Outcome.APPLIED, Outcome.PROVISIONED)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command line may say."""
    parser.add_argument(
        "release", metavar="RELEASE", help="channel, release.json or signed .caibx, path or URL"
    )
    add_slot(parser)
    parser.add_argument(
        "--no-activate", action="store_true", help="fill the slot; do not let it boot next"
    )
    parser.add_argument(
        "--provision",
        action="store_true",
        help="mark the slot good at once; needs --slot, and --running=none where nothing runs",
    )
    add_device(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """Do it."""
    if args.provision and (args.slot is None or args.no_activate):
        raise UsageError("--provision needs --slot, and goes without --no-activate")
    console.notifier.ready()
    with machine_of(args, console) as machine:
        target = target_of(args, machine)
        location = channel_of(machine, args.release)
        candidate = find_candidate(machine, target, location, remote_fetch(machine, location))
        activate = not (args.no_activate or args.provision)
        report = update(machine, target, candidate, by_hand=True, activate=activate)
        if args.provision:
            vouch_for(machine, target, candidate)
            report = replace(report, outcome=Outcome.PROVISIONED)
        console.result(report, report_lines(report))
    return 0 if report.outcome in _DONE else EX_NOTHING

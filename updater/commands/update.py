# SPDX-License-Identifier: Apache-2.0
"""Bring the newest release onto the inactive slot, prove it, and let it boot next.

In this order: check signatures and rules, call the `before` hook, mark the slot bad, write what
differs, read all of it back, call the `after` hook, let the slot boot next. Cut off anywhere, the
same command continues. Exit status 0 if a new slot boots next, 3 if there was nothing to do, 65 if
the release is refused.
"""

from __future__ import annotations

import argparse

from updater.agent.candidate import Candidate
from updater.agent.finding import channel_of, find_candidate, remote_fetch
from updater.agent.install import Outcome, update
from updater.agent.machine import Machine
from updater.agent.measuring import measured
from updater.agent.preview import preview
from updater.agent.reboot import reboot_after
from updater.console import Console
from updater.device_options import EX_NOTHING, add_device, add_release, machine_of
from updater.options import add_ask_stores
from updater.slots import SlotGroup
from updater.update_text import preview_lines, preview_result, report_lines


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command line may say."""
    add_release(parser)
    parser.add_argument(
        "-n", "--dry-run", action="store_true", help="print what would be done; write nothing"
    )
    parser.add_argument(
        "--retry",
        action="store_true",
        help="also if it failed here before, and before this device's turn",
    )
    add_ask_stores(parser)
    add_device(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """Do it."""
    console.notifier.ready()
    with machine_of(args, console, write=not args.dry_run) as machine:
        if args.dry_run:
            target, candidate = _find(machine, args)
            images = preview(machine, target, candidate, ask_stores=args.ask_stores)
            result = preview_result(
                candidate.version, candidate.sequence, target.boot, images, candidate.caveats
            )
            console.result(result, preview_lines(result))
            return 0
        with measured(machine, console.verb) as run:
            target, candidate = _find(machine, args)
            report = update(machine, target, candidate, by_hand=args.retry)
            run.images = report.images
            run.exit_status = 0 if report.outcome is Outcome.ACTIVATED else EX_NOTHING
        console.result(report, report_lines(report))
        if report.outcome is Outcome.ACTIVATED:
            reboot_after(machine)
    return run.exit_status


def _find(machine: Machine, args: argparse.Namespace) -> tuple[SlotGroup, Candidate]:
    target = machine.target()
    location = channel_of(machine, args.release)
    return target, find_candidate(machine, target, location, remote_fetch(machine, location))

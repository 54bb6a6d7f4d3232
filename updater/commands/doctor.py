# SPDX-License-Identifier: Apache-2.0
"""Look for what would make an update fail, or fail to fall back, before it does.

Each finding is `ok`, `warning` (it works, and promises less) or `problem` (an update fails, or does
not fall back), with a remedy. Exit status 0 if there is no problem, else 78. Nothing is written
without `--repair`.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from updater.agent.checks.finding import Level
from updater.agent.doctor import Diagnosis, diagnose
from updater.config import config_path
from updater.console import Console
from updater.device_options import add_device
from updater.errors import ConfigInvalid

EX_PROBLEM = ConfigInvalid.exit_status
"""A person has to change something first."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command line may say."""
    parser.add_argument(
        "--online", action="store_true", help="ask the channel, and prove its newest release"
    )
    parser.add_argument(
        "--repair",
        action="store_true",
        help="write the state anew where a copy is damaged; start afresh where none is whole",
    )
    add_device(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """Do it."""
    diagnosis = diagnose(
        config_path(args.config), running=args.running, online=args.online, repair=args.repair
    )
    console.result(diagnosis, _lines(diagnosis))
    return 0 if diagnosis.sound else EX_PROBLEM


def _lines(diagnosis: Diagnosis) -> Iterator[str]:
    width = max(len(level.value) for level in Level)
    for finding in diagnosis.findings:
        yield f"{finding.level.value:<{width}}  {finding.subject}: {finding.found}"
        if finding.remedy is not None:
            yield f"{'':<{width}}    {finding.remedy}"
    counts = [
        f"{count} {level.value}s"
        for level in (Level.PROBLEM, Level.WARNING)
        if (count := sum(finding.level is level for finding in diagnosis.findings))
    ]
    yield ", ".join(counts) or "nothing to complain of"

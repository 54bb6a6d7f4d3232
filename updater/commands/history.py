# SPDX-License-Identifier: Apache-2.0
"""What happened to the slots, oldest first, and which releases failed."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import dataclass

from updater.console import Console
from updater.device_options import add_device, config_of
from updater.state import Entry, Failure
from updater.state_files import StateFiles
from updater.units import count_of


@dataclass(frozen=True, slots=True)
class HistoryResult:
    """All that is remembered of it."""

    entries: tuple[Entry, ...]
    failures: Mapping[str, Failure]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command line may say."""
    add_device(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """Do it."""
    state = StateFiles(config_of(args).state_folder).load()
    result = HistoryResult(state.history, state.failures)
    console.result(result, _lines(result))
    return 0


def _lines(result: HistoryResult) -> list[str]:
    lines = []
    for entry in result.entries:
        words = [f"{entry.time:%Y-%m-%d %H:%M:%S}", entry.what]
        words += [f"slot {entry.slot}"] if entry.slot else []
        words += [entry.version] if entry.version else []
        words += [f"({entry.message})"] if entry.message else []
        lines.append("  ".join(words))
    for digest, failure in result.failures.items():
        when = (
            "not tried again"
            if failure.not_before is None
            else f"tried again after {failure.not_before:%Y-%m-%d %H:%M}"
        )
        lines.append(
            f"release {digest[:12]} failed {count_of(failure.count, 'time')}, {when}: "
            f"{failure.reason}"
        )
    return lines or ["nothing yet"]

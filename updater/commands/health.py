# SPDX-License-Identifier: Apache-2.0
"""After a boot: check the running slot, mark it good or bad; see whether an update failed.

The checks are those of the configuration. A slot that is not healthy is marked bad where another
one can boot, and exit status 65 says that a reboot is due. A slot that is good already is not
checked.
"""

from __future__ import annotations

import argparse

from updater.agent.measuring import measured
from updater.agent.proving import ProofReport, prove
from updater.agent.reboot import reboot_after_failure
from updater.console import Console
from updater.device_options import add_device, machine_of
from updater.errors import Unhealthy
from updater.health import check_health


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command line may say."""
    add_device(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """Do it."""
    console.notifier.ready()
    with machine_of(args, console) as machine:
        config = machine.config.health
        try:
            with measured(machine, console.verb):
                report = prove(machine, lambda: check_health(config, alive=console.notifier.alive))
        except Unhealthy:
            reboot_after_failure(machine)
            raise
        console.result(report, _lines(report))
    return 0


def _lines(report: ProofReport) -> list[str]:
    lines = [f"slot {report.slot}: {report.verdict.value}"]
    if report.fell_back_from is not None:
        lines = [f"slot {report.fell_back_from} was tried and failed; {report.slot} runs again"]
    for check in () if report.health is None else report.health.checks:
        lines.append(f"  {check.name}: {check.detail}")
    return lines

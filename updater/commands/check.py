# SPDX-License-Identifier: Apache-2.0
"""Look for a release, prove it, and say whether it would be installed; nothing is written.

Exit status 0 if there is one, 3 if it runs already or it is not this device's turn, 65 if it is
refused.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from updater.agent.finding import channel_of, find_release, remote_fetch
from updater.agent.proving import is_running
from updater.console import Console
from updater.device_options import EX_NOTHING, add_device, add_release, machine_of
from updater.releases.signatures import Signer
from updater.units import count_of


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What was found.

    Attributes:
        running: version of the slot that runs, as far as it is remembered.
        new: the release is another one than that which runs.
        turn: it is this device's turn in the roll-out.
        failures: how often it failed here.
    """

    version: str
    sequence: int
    running: str | None
    new: bool
    turn: bool
    failures: int
    signers: tuple[Signer, ...]
    caveats: tuple[str, ...]
    notes: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command line may say."""
    add_release(parser)
    add_device(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """Do it."""
    with machine_of(args, console, write=False) as machine:
        location = channel_of(machine, args.release)
        proved, judgement = find_release(
            machine, machine.target(), location, remote_fetch(machine, location)
        )
        release = proved.release
        record = None if machine.running is None else machine.record(machine.running)
        failure = machine.state.failures.get(proved.digest.hex())
        result = CheckResult(
            release.version,
            release.sequence,
            (record.version or None) if record is not None else None,
            not is_running(machine, proved.digest),
            judgement.turn,
            0 if failure is None else failure.count,
            proved.signers,
            judgement.caveats,
            release.notes,
        )
    console.result(result, _lines(result))
    return 0 if result.new and result.turn else EX_NOTHING


def _lines(result: CheckResult) -> list[str]:
    here = f"; {result.running} runs" if result.running else ""
    lines = [f"{result.version} (sequence {result.sequence}){here}"]
    if not result.new:
        lines.append("it runs already")
    elif not result.turn:
        lines.append("it is not this device's turn yet")
    if result.failures:
        lines.append(f"it failed here {count_of(result.failures, 'time')}; see `caflip history`")
    lines += [f"signed by {signer.user_id} ({signer.fingerprint})" for signer in result.signers]
    return [*lines, *result.notes.splitlines()]

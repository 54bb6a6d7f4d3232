# SPDX-License-Identifier: Apache-2.0
"""How a run went, written into the file of metrics beside what `device_metrics` tells.

That is known to the run alone; what the file says of other verbs, and of success and failure
before, is taken over from it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from boot.errors import BootError
from images.errors import ImageError, Interrupted
from updater.agent.device_metrics import device_families
from updater.agent.events import Noticed
from updater.agent.machine import Machine
from updater.agent.status import read_status
from updater.metrics import Sample, gauge, read_samples, write

if TYPE_CHECKING:
    from updater.agent.writing import ImageReport

_BUG = 70

_RUNS: Mapping[str, str] = {
    "caflip_last_success_timestamp_seconds": "When a run ended well last, whether or not there was"
    " something to do.",
    "caflip_last_failure_timestamp_seconds": "When a run failed last.",
    "caflip_last_exit_status": "Exit status of the last run: 0 done, 3 nothing to do, else failed.",
    "caflip_last_run_seconds": "How long the last run took.",
    "caflip_update_phase_seconds": "Wall time of the last update that wrote, by phase.",
}
_SUCCESS, _FAILURE, _STATUS, _SECONDS, _PHASES = _RUNS


@dataclass(slots=True)
class Measured:
    """What a run tells of itself.

    Attributes:
        exit_status: that it will end with, unless it fails.
        images: what it wrote.
    """

    exit_status: int = 0
    images: tuple[ImageReport, ...] = ()


@contextmanager
def measured(machine: Machine, verb: str) -> Iterator[Measured]:
    """Write the metrics when the block ends, well or not, where that is configured.

    That they cannot be written stops nothing: it is told.
    """
    started_s = time.monotonic()
    run = Measured()
    try:
        yield run
    except BaseException as error:
        _write(machine, verb, run, time.monotonic() - started_s, _status_of(error), failed=True)
        raise
    _write(machine, verb, run, time.monotonic() - started_s, run.exit_status, failed=False)


def _write(
    machine: Machine, verb: str, run: Measured, seconds: float, status: int, *, failed: bool
) -> None:
    path = machine.config.metrics.file
    if path is None:
        return
    try:
        failures = machine.state.failures.values()
        given_up = sum(failure.not_before is None for failure in failures)
        device = device_families(read_status(machine), len(failures) - given_up, given_up)
        samples = read_samples(path, _RUNS)
        now = machine.now().timestamp()
        mine = {"verb": verb}
        told = {_FAILURE if failed else _SUCCESS: now, _STATUS: status, _SECONDS: seconds}
        for name, value in told.items():
            others = [sample for sample in samples[name] if sample.labels != mine]
            samples[name] = [*others, Sample(value, mine)]
        if run.images:
            samples[_PHASES] = [
                Sample(taken, {"class": image.slot_class, "phase": phase.value})
                for image in run.images
                for phase, taken in image.seconds.items()
            ]
        runs = [gauge(name, meaning, samples[name]) for name, meaning in _RUNS.items()]
        write(path, [*device, *runs])
    except (ImageError, BootError, ValueError) as error:
        machine.sink(Noticed("metrics.not-written", f"the metrics cannot be written: {error}"))


def _status_of(error: BaseException) -> int:
    if isinstance(error, ImageError | BootError):
        return error.exit_status
    return Interrupted.exit_status if isinstance(error, KeyboardInterrupt) else _BUG

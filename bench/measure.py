# SPDX-License-Identifier: Apache-2.0
"""One measured run of a program: wall time, CPU time, peak memory.

Peak memory comes from GNU time(1), not from our own wait4(2): a child begins as a copy of its
parent, and the kernel counts the pages of that copy into the child's `ru_maxrss` when it executes
the program (`setmax_mm_hiwater_rss` in `fs/exec.c`). With Python as the parent nothing below some
10-20 MB would be seen. time(1) is a megabyte small and forks the program itself. With helper
processes the figure is that of the largest one.
"""

from __future__ import annotations

import compileall
import os
import resource
import subprocess
import tempfile
import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench.casync_loop import ROOT

GNU_TIME = "/usr/bin/time"
BLOCK = 1 << 20


class RunFailed(Exception):
    """A measured program failed; its output is the message."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What one run took.

    Attributes:
        wall_s: seconds from start to end.
        cpu_s: seconds of all processors, in user and kernel mode, helper processes included.
        peak_bytes: largest resident set, of the largest process.
    """

    wall_s: float
    cpu_s: float
    peak_bytes: int


def measure(command: Sequence[str]) -> Sample:
    """Run a program once and measure it.

    Raises:
        RunFailed: it ended with another status than 0.
    """
    with tempfile.NamedTemporaryFile("r") as peak, tempfile.TemporaryFile("w+") as output:
        launcher = [GNU_TIME, "--quiet", "-o", peak.name, "-f", "%M"]
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        start = time.perf_counter()
        status = subprocess.call(
            [*launcher, *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        wall_s = time.perf_counter() - start
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        if status != 0:
            output.seek(0)
            raise RunFailed(f"{' '.join(command)}: status {status}\n{output.read()[-4000:]}")
        cpu_s = (after.ru_utime - before.ru_utime) + (after.ru_stime - before.ru_stime)
        return Sample(wall_s, cpu_s, int(peak.read().split()[-1]) * 1024)


def medians(samples: Sequence[Sample]) -> Sample:
    """The median of each number by itself."""
    return Sample(
        median(sample.wall_s for sample in samples),
        median(sample.cpu_s for sample in samples),
        int(median(sample.peak_bytes for sample in samples)),
    )


def warm(paths: Iterable[Path]) -> None:
    """Read files and everything in folders once, so that they stand in the page cache."""
    buffer = bytearray(BLOCK)
    for path in paths:
        inside = sorted(path.rglob("*")) if path.is_dir() else [path]
        for file in inside:
            if file.is_file():
                with file.open("rb", buffering=0) as stream:
                    while stream.readinto(buffer):
                        pass


def use_bytecode() -> None:
    """Let the measured caflip start from bytecode, as an installed one does."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    for package in ("boot", "fsprobe", "images", "updater"):
        compileall.compile_dir(ROOT / package, quiet=1)


def take_priority() -> bool:
    """Put this process and its children before other sessions of the machine; root only.

    nice(1) alone does nothing between sessions where the kernel groups tasks by session
    (`kernel.sched_autogroup_enabled`, sched(7)): the group's own nice value counts.

    Returns:
        Whether it was possible.
    """
    with suppress(OSError):
        Path("/proc/self/autogroup").write_text("-20")
        os.setpriority(os.PRIO_PROCESS, 0, -10)
        return True
    return False

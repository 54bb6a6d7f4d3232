# SPDX-License-Identifier: Apache-2.0
"""Faults of the machine, put between a real caflip process and the kernel by `faults.c`.

    read, write, flush   EIO, ENOSPC, short, dropped or corrupted, by file and range of bytes
    zero                 fallocate(2), by which zeros are written
    create, rename       of a file, by its path
    a moment             any of these, when SIGTERM comes, the clock jumps, or memory ends

A fault that was never met proves nothing: what was met is logged, and `met` is asked for.
"""

from __future__ import annotations

import errno
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

from tests.capabilities import require_tool

ALWAYS = 1 << 40
EVERYWHERE = 1 << 60


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault.

    Attributes:
        call: `read`, `write`, `zero`, `flush`, `create` or `rename`.
        path: part of the file's path.
        kind: `error`, `short`, `dropped`, `corrupted`; `signal`, `clock`, `memory` begin with the
            call, which itself goes well.
        value: errno, number of the signal, seconds that the clock jumps ahead.
        start, stop: bytes of the file of which the call has to touch one.
        skip: calls that go well first.
        times: calls that are hit then.
    """

    call: str
    path: str
    kind: str = "error"
    value: int = errno.EIO
    start: int = 0
    stop: int = EVERYWHERE
    skip: int = 0
    times: int = ALWAYS

    def within(self, start: int, stop: int) -> Fault:
        """Return the same fault in a range of bytes."""
        return replace(self, start=start, stop=stop)

    def environment(self, library: Path, log: Path) -> dict[str, str]:
        """Return the variables of a process that meets it."""
        return {
            "LD_PRELOAD": str(library),
            "FAULT_CALL": self.call,
            "FAULT_PATH": self.path,
            "FAULT_KIND": self.kind,
            "FAULT_VALUE": str(self.value),
            "FAULT_FROM": str(self.start),
            "FAULT_TO": str(self.stop),
            "FAULT_SKIP": str(self.skip),
            "FAULT_TIMES": str(self.times),
            "FAULT_LOG": str(log),
        }


def build_library(folder: Path) -> Path:
    """Compile faults.c."""
    require_tool("gcc")
    library = folder / "faults.so"
    source = Path(__file__).with_name("faults.c")
    subprocess.run(
        ["gcc", "-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-o", library, source],
        check=True,
        timeout=60,
    )
    return library


def met(log: Path) -> list[str]:
    """Return the calls that were hit, in order: call, path, offset, length."""
    return log.read_text().splitlines() if log.exists() else []

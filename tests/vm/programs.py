# SPDX-License-Identifier: Apache-2.0
"""Programs of the host: run, with their output; a failure shows what they said."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

_ENVIRONMENT = {
    **os.environ,
    "LC_ALL": "C.UTF-8",
    "PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin",
}


class ProgramFailed(Exception):
    """A program of the host did not do its work."""


def run(
    *command: str | Path, text: str = "", cwd: Path | None = None, timeout_s: float = 120.0
) -> str:
    """Run a program, with `text` as its standard input, and return its standard output.

    Raises:
        ProgramFailed: its status is not 0.
    """
    result = subprocess.run(
        [str(word) for word in command],
        input=text,
        capture_output=True,
        text=True,
        cwd=cwd,
        env=_ENVIRONMENT,
        timeout=timeout_s,
    )
    if result.returncode != 0:
        words = " ".join(str(word) for word in command)
        raise ProgramFailed(f"{words}\nstatus {result.returncode}\n{result.stdout}{result.stderr}")
    return result.stdout

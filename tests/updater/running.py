# SPDX-License-Identifier: Apache-2.0
"""Running caflip, in this process or in another one, and looking at what it prints."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

ROOT = Path(__file__).parent.parent.parent
DEADLINE_S = 60.0

COMMAND = (sys.executable, "-m", "updater")


@dataclass(frozen=True, slots=True)
class Run:
    """How a run ended and what it printed."""

    status: int
    out: bytes
    err: str

    @property
    def text(self) -> str:
        return self.out.decode()

    @property
    def lines(self) -> list[dict[str, Any]]:
        """The JSON lines."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def last(self) -> dict[str, Any]:
        return self.lines[-1]


Caflip: TypeAlias = Callable[..., Run]


def environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the environment of a subprocess that finds the packages."""
    return os.environ | {"PYTHONPATH": str(ROOT)} | dict(more or {})


def run_process(
    *arguments: str | Path,
    command: tuple[str, ...] = COMMAND,
    folder: Path | None = None,
    stdin: Path | None = None,
    more: Mapping[str, str] | None = None,
) -> Run:
    """Run a program to its end."""
    with open(stdin or os.devnull, "rb") as file:
        done = subprocess.run(
            [*command, *map(str, arguments)],
            stdin=file,
            capture_output=True,
            cwd=folder,
            env=environment(more),
            timeout=DEADLINE_S,
            check=False,
        )
    return Run(done.returncode, done.stdout, done.stderr.decode())


def content(length: int, seed: int = 0) -> bytes:
    """Return bytes that look random and are the same every time."""
    return random.Random(seed).randbytes(length)


def casync_named(folder: Path) -> Path:
    """Return a program that is caflip under the name `casync`."""
    program = folder / "casync"
    program.write_text(
        f"#!{sys.executable}\nimport sys\nfrom updater.cli import main\nsys.exit(main())\n"
    )
    program.chmod(0o755)
    return program

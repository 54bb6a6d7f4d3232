# SPDX-License-Identifier: Apache-2.0
"""Runs a fuzz target in a process of its own: libFuzzer ends the process it is in."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.capabilities import require_module

ROOT = Path(__file__).parents[2]
CORPUS = Path(__file__).with_name("corpus")
"""A folder of inputs for each target; `tests.fuzz.seeds` says where they come from."""
DEADLINE_S = 250.0


def run_fuzzer(
    target: str, runs: int, folder: Path, *, root: Path = ROOT, seeds: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Fuzz the code of the tree at `root` and wait for the end.

    Args:
        target: a module of `tests/fuzz/targets`.
        runs: how many inputs, those of the corpus included.
        folder: takes new inputs, and in `crash-…` the one that failed.
        root: the tree; the fuzzer stops there at the first failure.
        seeds: a folder of more inputs to begin with.
    """
    require_module("atheris")
    more = [] if seeds is None else [f"--seeds={seeds}"]
    return subprocess.run(
        [sys.executable, "-m", "tests.fuzz", target, str(runs), f"--folder={folder}", *more],
        cwd=root,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=DEADLINE_S,
        check=False,
        env={**os.environ, "PYTHONPATH": str(root)},
    )

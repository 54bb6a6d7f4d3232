# SPDX-License-Identifier: Apache-2.0
"""Fuzz one target of `tests/fuzz/targets`, guided by coverage.

    python -m tests.fuzz TARGET [RUNS] [--folder=FOLDER] [--seeds=FOLDER]

Each target has `fuzz(data)`: it lets out only what its parser documents, asserts what holds for
every input, and returns whether the parser took it; and `LONGEST`, the bytes of an input. The
kept corpus is never written to: what is new, and what fails, goes to the folder.
"""

from __future__ import annotations

import argparse
import importlib
import tempfile
from pathlib import Path

import atheris

from tests.fuzz.running import CORPUS

INSTRUMENTED = ["boot", "fsprobe", "images", "updater", "json", "tomllib"]
RUNS = 1_000_000
LONGEST_RUN_S = 10
"""One input that takes longer is a finding."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("target")
    parser.add_argument("runs", nargs="?", type=int, default=RUNS)
    parser.add_argument("--folder", type=Path, help="else caflip-fuzz/TARGET for temporary files")
    parser.add_argument("--seeds", type=Path, help="more inputs to begin with")
    asked = parser.parse_args()
    folder = asked.folder or Path(tempfile.gettempdir(), "caflip-fuzz", asked.target)
    found = folder / "inputs"
    found.mkdir(parents=True, exist_ok=True)
    kept = [path for path in (CORPUS / asked.target, asked.seeds) if path and path.is_dir()]
    with atheris.instrument_imports(include=INSTRUMENTED):
        target = importlib.import_module(f"tests.fuzz.targets.{asked.target}")

    def one_input(data: bytes) -> None:
        target.fuzz(data)

    options = [
        f"-runs={asked.runs}",
        "-seed=1",
        f"-max_len={target.LONGEST}",
        f"-timeout={LONGEST_RUN_S}",
        f"-artifact_prefix={folder}/",
    ]
    atheris.Setup(["fuzz", *options, str(found), *map(str, kept)], one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()

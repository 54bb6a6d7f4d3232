# SPDX-License-Identifier: Apache-2.0
"""Every reader of untrusted or damaged bytes: the kept corpus, then a fixed number of runs."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from tests.fuzz.running import CORPUS, run_fuzzer

TARGETS = [path.stem for path in sorted(Path(__file__).with_name("targets").glob("*.py"))]

RUNS_OF = {
    "barebox_state": 1000,
    "chunk": 5000,
    "fw_env_config": 6000,
    "grubenv": 400,
    "http_request": 6000,
    "index": 8000,
    "load_option": 40_000,
    "loader_entries": 800,
    "names": 8000,
    "partitions": 700,
    "peer_request": 20_000,
    "peer_said": 20_000,
    "release": 4000,
    "signatures": 8000,
}
"""Each target has some three seconds; here are those that take more or less than 1.5 ms a run."""

# Superblocks are fuzzed from real images of every kind, in tests/fsprobe.
RUNS = {name: RUNS_OF.get(name, 2000) for name in TARGETS if name != "superblocks"}


@pytest.mark.parametrize("target", TARGETS)
def test_the_corpus_holds_what_the_parser_takes(target: str) -> None:
    """A target that refuses everything would prove nothing."""
    fuzz = importlib.import_module(f"tests.fuzz.targets.{target}").fuzz
    taken = {path.name: fuzz(path.read_bytes()) for path in (CORPUS / target).iterdir()}
    assert any(taken.values()), taken


@pytest.mark.parametrize("target", RUNS)
def test_fuzzed(target: str, tmp_path: Path) -> None:
    done = run_fuzzer(target, RUNS[target], tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"Done {RUNS[target]} runs" in done.stderr

# SPDX-License-Identifier: Apache-2.0
"""What is measured is the program itself, not the process that starts it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bench.measure import RunFailed, Sample, measure, medians, warm
from tests.capabilities import require_tool

MIB = 1 << 20
ALLOCATE = f"data = b'x' * {50 * MIB}"


def python(code: str) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", code]


def test_the_peak_memory_of_a_program_that_takes_50_mib() -> None:
    require_tool("time")
    sample = measure(python(ALLOCATE))
    assert 50 * MIB < sample.peak_bytes < 80 * MIB


def test_the_memory_of_the_measuring_process_does_not_count() -> None:
    require_tool("time")
    large = b"x" * (200 * MIB)
    sample = measure(["true"])
    assert len(large) == 200 * MIB
    assert sample.peak_bytes < 10 * MIB


def test_the_peak_of_a_helper_process_counts() -> None:
    require_tool("time")
    start = f"import subprocess; subprocess.run({python(ALLOCATE)!r})"
    assert measure(python(start)).peak_bytes > 50 * MIB


def test_the_processor_time_of_a_helper_process_counts() -> None:
    require_tool("time")
    burn = "import time\nwhile time.process_time() < 0.3: pass"
    sample = measure(python(f"import subprocess; subprocess.run({python(burn)!r})"))
    assert sample.cpu_s >= 0.3
    assert sample.wall_s >= 0.3


def test_a_program_that_fails_is_reported_with_its_output() -> None:
    require_tool("time")
    with pytest.raises(RunFailed, match=r"(?s)status 3.*no such chunk"):
        measure(["sh", "-c", "echo no such chunk >&2; exit 3"])


def test_the_median_is_taken_of_each_number_by_itself() -> None:
    samples = [Sample(1.0, 9.0, 100), Sample(3.0, 5.0, 300), Sample(2.0, 7.0, 200)]
    assert medians(samples) == Sample(2.0, 7.0, 200)


def test_folders_are_read_with_all_that_is_in_them(tmp_path: Path) -> None:
    inside = tmp_path / "0000"
    inside.mkdir()
    (inside / "chunk").write_bytes(b"x" * (3 * MIB))
    (inside / "empty").touch()
    warm([tmp_path, inside / "chunk"])

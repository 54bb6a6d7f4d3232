# SPDX-License-Identifier: Apache-2.0
"""The arithmetic of the table, and the shape of the JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench.measure import Sample
from bench.report import Result, as_json, draw, table
from bench.scan import ScanResult, ScanRow
from tests.capabilities import require_module

MIB = 1 << 20
CASYNC = [Sample(10.0, 8.0, 6 * MIB), Sample(30.0, 9.0, 6 * MIB), Sample(20.0, 8.5, 6 * MIB)]
CAFLIP = [Sample(2.0, 3.0, 40 * MIB), Sample(1.0, 2.0, 41 * MIB), Sample(2.5, 3.5, 42 * MIB)]
HTTP = Result("http-seed", "extract by HTTP", 16.0, {"casync": CASYNC, "caflip": CAFLIP})
ALONE = Result("large-make", "16 GiB", None, {"caflip": CAFLIP[:1]})
SCAN = ScanResult(
    (
        ScanRow("casync, -O2", "random", 5e8, 1.0),
        ScanRow("portable", "random", 1e9, 2.0),
        ScanRow("avx2", "random", 2e9, 4.0),
        ScanRow("avx2", "zeros", 9e9, 18.0),
    ),
    *("casync, -O2", "a processor", 0.1),
)


def test_the_ratio_is_that_of_the_medians_of_wall_time() -> None:
    assert HTTP.ratio("caflip") == 10.0
    assert HTTP.ratio("casync") == 1.0


def test_without_the_other_tool_there_is_no_ratio() -> None:
    assert ALONE.ratio("caflip") is None
    assert HTTP.ratio("desync") is None


def test_the_table_has_a_line_for_each_tool_with_its_goal() -> None:
    lines = table([HTTP, ALONE]).splitlines()
    assert lines[1] == "http-seed: extract by HTTP"
    assert lines[2].split() == ["casync", "20.00", "8.50", "6.0"]
    assert lines[3].split() == ["caflip", "2.00", "3.00", "41.0", "10.0x", "16.0x"]
    assert lines[-1] == "caflip's highest peak memory: 42.0 MiB (goal: 64 MiB)"


def test_the_fastest_and_the_portable_scan_of_random_bytes_have_goals() -> None:
    lines = [line.split() for line in table([], SCAN).splitlines()]
    assert ["random", "portable", "1.00", "2.0x", "1.5x"] in lines
    assert ["random", "avx2", "2.00", "4.0x", "3.5x"] in lines
    assert ["zeros", "avx2", "9.00", "18.0x"] in lines


def test_the_json_holds_medians_ratios_and_every_sample() -> None:
    document = json.loads(json.dumps(as_json([HTTP, ALONE], SCAN)))
    case = document["cases"][0]
    assert (case["name"], case["goal"]) == ("http-seed", 16.0)
    caflip = case["tools"]["caflip"]
    assert caflip["median"] == {"wall_s": 2.0, "cpu_s": 3.0, "peak_bytes": 41 * MIB}
    assert caflip["ratio_to_casync"] == 10.0
    assert [sample["wall_s"] for sample in caflip["samples"]] == [2.0, 1.0, 2.5]
    assert document["cases"][1]["tools"]["caflip"]["ratio_to_casync"] is None
    assert document["scan"]["rows"][2]["times_reference"] == 4.0
    assert document["peak_goal_bytes"] == 64 * MIB


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_chart_is_drawn_as_svg_and_png(tmp_path: Path) -> None:
    require_module("matplotlib")
    files = [tmp_path / "chart.svg", tmp_path / "chart.png"]
    draw([HTTP, ALONE], files)
    assert b"<svg" in files[0].read_bytes()
    assert files[1].read_bytes().startswith(b"\x89PNG")

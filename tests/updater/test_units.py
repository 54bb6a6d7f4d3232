# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from updater.units import count_of, format_bytes, format_clock, format_percent, format_time


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0B"),
        (1023, "1023B"),
        (1024, "1.0K"),
        (81081, "79.1K"),  # casync: "Effective average chunk size: 79.1K"
        (3_000_000, "2.8M"),  # casync: "Archive size: 2.8M"
        ((1 << 20) - 1, "1023.9K"),
        (1 << 20, "1.0M"),
        (5 << 40, "5.0T"),
        (1 << 70, "1024.0E"),
    ],
)
def test_bytes_are_cut_off_after_one_decimal_as_by_casync(count: int, text: str) -> None:
    assert format_bytes(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0"),
        (0.0127, "12ms"),
        (3.4129, "3.412s"),
        (125, "2min 5.000s"),
        (3723, "1h 2min 3.000s"),
    ],
)
def test_times_are_cut_off_after_the_millisecond(seconds: float, text: str) -> None:
    assert format_time(seconds) == text


@pytest.mark.parametrize(("seconds", "text"), [(7, "0:07"), (750, "12:30"), (3723, "1:02:03")])
def test_a_time_to_come_is_a_clock(seconds: float, text: str) -> None:
    assert format_clock(seconds) == text


def test_percent_of_nothing_is_zero() -> None:
    assert format_percent(0, 0) == "0%"
    assert format_percent(5, 6) == "83%"


def test_one_chunk_is_singular() -> None:
    assert [count_of(n, "chunk") for n in (0, 1, 1234)] == ["0 chunks", "1 chunk", "1,234 chunks"]

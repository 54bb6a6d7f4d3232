# SPDX-License-Identifier: Apache-2.0
"""Numbers as people read them. Bytes and times of statistics look as casync's do.

casync `src/util.c`: `format_bytes` cuts off after one decimal, `format_timespan` after the
millisecond.
"""

from __future__ import annotations

_UNITS = "KMGTPE"


def format_bytes(count: int) -> str:
    """Return `0B`, `90.0K`, `2.8M`: units of 1024, one decimal, cut off and not rounded."""
    if count < 1024:
        return f"{count}B"
    exponent = min((count.bit_length() - 1) // 10, len(_UNITS))
    tenths = count * 10 >> 10 * exponent
    return f"{tenths // 10}.{tenths % 10}{_UNITS[exponent - 1]}"


def format_percent(part: int, whole: int) -> str:
    """Return `83%`; of nothing it is `0%`."""
    return f"{part * 100 // whole if whole else 0}%"


def format_time(seconds: float) -> str:
    """Return `0`, `12ms`, `3.412s`, `2min 5.120s`, `1h 2min 3.000s`."""
    milliseconds = int(seconds * 1000)
    if milliseconds == 0:
        return "0"
    if milliseconds < 1000:
        return f"{milliseconds}ms"
    whole, rest = divmod(milliseconds, 1000)
    minutes, whole = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    text = f"{whole}.{rest:03}s"
    if hours or minutes:
        text = f"{minutes}min {text}"
    return f"{hours}h {text}" if hours else text


def format_clock(seconds: float) -> str:
    """Return `0:07`, `12:30`, `1:02:03`, for a time that is still to come."""
    minutes, second = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{second:02}" if hours else f"{minutes}:{second:02}"


def count_of(number: int, thing: str) -> str:
    """Return `1 chunk`, `2 chunks`."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"

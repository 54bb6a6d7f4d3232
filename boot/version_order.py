# SPDX-License-Identifier: Apache-2.0
"""Which of two versions is newer, as systemd-boot says.

Source: the UAPI group's version format specification (https://uapi-group.org/specifications/specs/
version_format_specification); systemd, src/fundamental/string-util-fundamental.c.
"""

from __future__ import annotations

import re

_SEPARATORS = re.compile(r"[^0-9A-Za-z~^.-]*")
_DIGITS = re.compile(r"[0-9]*")
_LETTERS = re.compile(r"[A-Za-z]*")


def compare_versions(a: str, b: str) -> int:
    """Return 1 if `a` is newer than `b`, -1 if it is older, 0 if they are equal."""
    while True:
        a = a[_length(_SEPARATORS, a) :]
        b = b[_length(_SEPARATORS, b) :]
        # 1~rc1 is older than 1, so this comes before the question whose text is at its end.
        if order := _without("~", a, b):
            return order
        if a.startswith("~"):
            a, b = a[1:], b[1:]
        if not a or not b:
            return bool(a) - bool(b)
        for mark in "-^.":
            if order := _without(mark, a, b):
                return order
            if a.startswith(mark):
                a, b = a[1:], b[1:]
        digits = a[:1].isdecimal() or b[:1].isdecimal()
        kind = _DIGITS if digits else _LETTERS
        a_length, b_length = _length(kind, a), _length(kind, b)
        if order := _segments(a[:a_length], b[:b_length], digits=digits):
            return order
        a, b = a[a_length:], b[b_length:]


def _length(pattern: re.Pattern[str], text: str) -> int:
    found = pattern.match(text)
    return found.end() if found else 0


def _without(mark: str, a: str, b: str) -> int:
    """Of two texts, the one that begins with `mark` is older."""
    return b.startswith(mark) - a.startswith(mark)


def _segments(a: str, b: str, *, digits: bool) -> int:
    if digits:
        if bool(a) != bool(b):
            return bool(a) - bool(b)  # a number is newer than a word
        a, b = a.lstrip("0"), b.lstrip("0")
        if len(a) != len(b):
            return 1 if len(a) > len(b) else -1
    return (a > b) - (a < b)

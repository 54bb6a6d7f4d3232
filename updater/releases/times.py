# SPDX-License-Identifier: Apache-2.0
"""Moments as releases write them: RFC 3339 in UTC, to the second, `2026-11-05T12:00:00Z`."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from images.errors import SettingInvalid

_FORM = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")
_SPAN = re.compile(r"([1-9][0-9]{0,5})([hdwy])")
_UNITS = {
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
    "y": timedelta(days=365),
}

FIRST_YEAR = 1970
LAST_YEAR = 2105
"""OpenPGP counts seconds in 32 bits (RFC 9580, 3.5): later moments cannot be compared."""


def format_time(moment: datetime) -> str:
    """Return `2026-11-05T12:00:00Z`; fractions of a second are cut off."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="seconds") + "Z"


def parse_time(text: str) -> datetime:
    """Read what `format_time` writes, and nothing else.

    Raises:
        ValueError: another form, no such moment, or a year outside of 1970 to 2105.
    """
    if not _FORM.fullmatch(text):
        raise ValueError(f"{text!r} is not of the form 2026-11-05T12:00:00Z")
    moment = datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    # strptime takes the leap second 60 and moves on; the text would not come back the same.
    if not FIRST_YEAR <= moment.year <= LAST_YEAR or format_time(moment) != text:
        raise ValueError(f"{text!r} is no moment between {FIRST_YEAR} and {LAST_YEAR}")
    return moment


def parse_span(text: str) -> timedelta:
    """Read a span such as `36h`, `90d`, `6w` or `2y` (of 365 days).

    Raises:
        SettingInvalid: it is none.
    """
    match = _SPAN.fullmatch(text)
    if match is None:
        raise SettingInvalid(f"{text!r} is no span of time such as 36h, 90d, 6w or 2y")
    return int(match[1]) * _UNITS[match[2]]

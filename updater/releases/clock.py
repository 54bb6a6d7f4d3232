# SPDX-License-Identifier: Apache-2.0
"""What time is it at least?

A device without a battery wakes up in 1970, or at the time it was switched off. Some moments it
knows to be past all the same: when this program was made, when the last release that proved good
was created, when the state was written. The latest of them is the lower bound. A system clock
before it is wrong; one after it is believed, as there is nothing better.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Protocol

NOT_BEFORE = datetime(2026, 11, 1, tzinfo=UTC)
"""This code was written after it, whatever the files of the package say."""

LONGEST_LIFE = timedelta(days=20 * 365)
"""Nobody installs this version after that."""


class Clock(Protocol):
    """Where the system's time comes from."""

    def now(self) -> datetime:
        """Return what the system takes for the present time, in UTC."""


class SystemClock:
    """CLOCK_REALTIME."""

    def now(self) -> datetime:
        """See `Clock`."""
        return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Reading:
    """The system's time beside what is known to be past.

    Attributes:
        system: what the system's clock says.
        lower_bound: it is later than this for certain.
        reason: where the lower bound is from, for people.
    """

    system: datetime
    lower_bound: datetime
    reason: str

    @property
    def plausible(self) -> bool:
        """Whether the system's clock may be right."""
        return self.system >= self.lower_bound

    @property
    def now(self) -> datetime:
        """The best guess, which is never before the lower bound."""
        return max(self.system, self.lower_bound)


def read_clock(
    clock: Clock,
    *,
    last_signed: datetime | None = None,
    state_written: datetime | None = None,
    built: datetime | None = None,
) -> Reading:
    """Compare the system's clock with what is known to be past.

    Args:
        clock: of the system.
        last_signed: `created` of the newest release that proved good here. Not of one that was
            only seen: a date by mistake in the far future would then make all others expired.
        state_written: when the state was written last, by a clock that was plausible then.
        built: when this program was made; None for `build_time()`.
    """
    known = [(build_time() if built is None else built, "this program was made")]
    if last_signed is not None:
        known.append((last_signed, "the last good release was created"))
    if state_written is not None:
        known.append((state_written, "the state was last written"))
    lower_bound, reason = max(known)
    return Reading(clock.now(), lower_bound, reason)


@cache
def build_time() -> datetime:
    """Return when this program was made: its newest file, and not before `NOT_BEFORE`.

    A file that some wrong clock dated far ahead counts for nothing: every release would be
    expired for ever.
    """
    made = [NOT_BEFORE]
    for path in Path(__file__).parent.parent.rglob("*.py"):
        written = datetime.fromtimestamp(path.stat().st_mtime, UTC)
        if written < NOT_BEFORE + LONGEST_LIFE:
            made.append(written)
    return max(made)

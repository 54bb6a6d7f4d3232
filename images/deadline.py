# SPDX-License-Identifier: Apache-2.0
"""How long to go on trying, and how long to wait between two tries.

A deadline is an object that is handed down, not a number that every layer counts anew. The waits
are "decorrelated jitter" (Marc Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog,
2015): each wait is drawn between a floor and three times the one before, so that clients which
failed together do not come back together.
"""

from __future__ import annotations

import random
import time

FLOOR_S = 0.1
CEILING_S = 5.0


class Deadline:
    """A point in time that progress may move on."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._end = time.monotonic() + seconds

    def renew(self) -> None:
        """Start again with all the time."""
        self._end = time.monotonic() + self._seconds

    @property
    def remaining_s(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self._end - time.monotonic())

    @property
    def expired(self) -> bool:
        """Nothing is left."""
        return self.remaining_s == 0.0


class Backoff:
    """The waits between the tries of one thing."""

    def __init__(self) -> None:
        self._last_s = FLOOR_S

    def next_s(self) -> float:
        """Draw the next wait, within `FLOOR_S`..`CEILING_S`."""
        self._last_s = min(CEILING_S, random.uniform(FLOOR_S, 3 * self._last_s))
        return self._last_s

# SPDX-License-Identifier: Apache-2.0
"""How long a step may take: some ten times what it takes on an idle machine."""

from __future__ import annotations

import time


class Deadline:
    """A point in time, handed down to everything that waits.

    Attributes:
        seconds: how far away it was at the beginning.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    @property
    def remaining_s(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self._end - time.monotonic())

    @property
    def expired(self) -> bool:
        """Nothing is left."""
        return self.remaining_s == 0.0

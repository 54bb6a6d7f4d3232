# SPDX-License-Identifier: Apache-2.0
"""How many requests at once, and how many bytes a second."""

from __future__ import annotations

import time

_GAIN = 1.15
"""Twice the requests have to bring so many times the bytes a second, or are taken back."""
_ROUND_S = 0.1
_HOLD_ROUNDS = 32
"""Rounds after which more are tried again: the network may have changed."""


class Window:
    """How many requests may be in flight: doubled while that pays, halved when it hurts.

    The best number is latency times bandwidth, which nobody knows beforehand: at 20 ms a server
    that sends 40 KB chunks gives 15 MB/s with 8 in flight and 57 MB/s with 32.

    Attributes:
        size: the number now.
    """

    def __init__(self, minimum: int, start: int, maximum: int) -> None:
        self.size = start
        self._minimum, self._maximum = minimum, maximum
        self._rate_before = 0.0
        self._hold = 0
        self._cut_s = 0.0
        self._begin_round()

    def answered(self, transferred: int) -> None:
        """Count a success, and judge the size once every two windows of them."""
        self._answers += 1
        self._bytes += transferred
        passed_s = time.monotonic() - self._round_s
        if self._answers < 2 * self.size or passed_s < _ROUND_S:
            return
        rate = self._bytes / passed_s
        if self._hold:
            self._hold -= 1
        elif self._rate_before and rate < _GAIN * self._rate_before:
            self._settle(self.size // 2)
        elif self.size == self._maximum:
            self._settle(self.size)
        else:
            self._rate_before = rate
            self.size = min(self._maximum, 2 * self.size)
        self._begin_round()

    def overloaded(self, started_s: float) -> None:
        """Halve, because of a request that began then; those that began together count once."""
        if started_s >= self._cut_s:
            self._cut_s = time.monotonic()
            self._settle(self.size // 2)
            self._begin_round()

    def _settle(self, size: int) -> None:
        self.size = max(self._minimum, size)
        self._rate_before, self._hold = 0.0, _HOLD_ROUNDS

    def _begin_round(self) -> None:
        self._round_s, self._answers, self._bytes = time.monotonic(), 0, 0


class TokenBucket:
    """A rate that holds on average: what was taken too early has to be waited for."""

    def __init__(self, bytes_per_s: int | None) -> None:
        self._rate = bytes_per_s
        self._free_s = 0.0

    def take(self, count: int) -> None:
        """Use `count` bytes."""
        if self._rate is not None:
            self._free_s = max(self._free_s, time.monotonic()) + count / self._rate

    @property
    def wait_s(self) -> float:
        """Seconds until the next byte may be used."""
        return max(0.0, self._free_s - time.monotonic())

# SPDX-License-Identifier: Apache-2.0
"""Waiting for what comes in its own time."""

from __future__ import annotations

import time
from collections.abc import Callable

DEADLINE_S = 60.0


def wait_until(true: Callable[[], bool], timeout_s: float = DEADLINE_S) -> None:
    """Ask until it is true; fail at the deadline."""
    deadline_s = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < deadline_s, "not in time"
        time.sleep(0.01)

# SPDX-License-Identifier: Apache-2.0
"""The progress bar: one line on a terminal, and how often anybody is told of progress."""

from __future__ import annotations

import os
import time
from collections import deque
from contextlib import suppress

from images.events import Phase, Progress
from updater.units import format_bytes, format_clock

INTERVAL_S = 0.1
"""Progress is told at most ten times a second."""

RATE_WINDOW_S = 5.0
"""The rate is that of so many seconds back."""

_PHASE_WIDTH = max(len(phase.value) for phase in Phase)
_BAR_WIDTH = 16  # so that all fits into 80 columns


class Throttle:
    """Lets through the first event of a phase, the last one, and one every `interval_s`."""

    def __init__(self, interval_s: float = INTERVAL_S) -> None:
        self._interval_s = interval_s
        self._phase: Phase | None = None
        self._due_s = 0.0

    def passes(self, progress: Progress, now_s: float) -> bool:
        """Tell whether this event should be shown."""
        first = progress.phase is not self._phase
        if not first and now_s < self._due_s and progress.done != progress.total:
            return False
        self._phase = progress.phase
        self._due_s = now_s + self._interval_s
        return True


class Rate:
    """Bytes a second of one phase, over the last seconds."""

    def __init__(self) -> None:
        self._phase: Phase | None = None
        self._marks: deque[tuple[float, int]] = deque()

    def update(self, progress: Progress, now_s: float) -> float | None:
        """Take a new event; return the rate, None while too little is known."""
        if progress.phase is not self._phase:
            self._phase = progress.phase
            self._marks.clear()
        self._marks.append((now_s, progress.done))
        while now_s - self._marks[0][0] > RATE_WINDOW_S and len(self._marks) > 2:
            self._marks.popleft()
        seconds = now_s - self._marks[0][0]
        moved = progress.done - self._marks[0][1]
        return moved / seconds if seconds > INTERVAL_S and moved > 0 else None


def render(progress: Progress, rate_bps: float | None, width: int) -> str:
    """Return one line of at most `width` characters."""
    parts = [f"{progress.phase.value:<{_PHASE_WIDTH}}"]
    if progress.total:
        share = min(1.0, progress.done / progress.total)
        full = int(share * _BAR_WIDTH)
        parts.append(f"[{'#' * full}{'-' * (_BAR_WIDTH - full)}]")
        parts.append(f"{int(share * 100):3}%")
        parts.append(f"{format_bytes(progress.done)}/{format_bytes(progress.total)}")
    elif progress.done:
        parts.append(format_bytes(progress.done))
    if rate_bps is not None:
        parts.append(f"{format_bytes(int(rate_bps))}/s")
        if progress.total is not None and progress.done < progress.total:
            parts.append(f"ETA {format_clock((progress.total - progress.done) / rate_bps)}")
    line = "  ".join(parts)
    if len(line) > width and progress.total:
        del parts[1]  # the bar itself says the least
        line = "  ".join(parts)
    return line[: max(0, width)]


class Bar:
    """Draws over one line of a terminal, again and again."""

    def __init__(self, stream_fd: int) -> None:
        self._fd = stream_fd
        self._throttle = Throttle()
        self._rate = Rate()
        self._drawn = False

    def show(self, progress: Progress) -> None:
        """Draw the event, if it is time to."""
        now_s = time.monotonic()
        if not self._throttle.passes(progress, now_s):
            return
        rate_bps = self._rate.update(progress, now_s)
        try:
            width = os.get_terminal_size(self._fd).columns or 80
        except OSError:
            width = 80
        self._write(f"\r{render(progress, rate_bps, width - 1)}\x1b[K")
        self._drawn = True

    def clear(self) -> None:
        """Leave an empty line for other text."""
        if self._drawn:
            self._write("\r\x1b[K")
            self._drawn = False

    def _write(self, text: str) -> None:
        with suppress(OSError):  # a terminal that went away is no reason to stop an update
            os.write(self._fd, text.encode())

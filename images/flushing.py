# SPDX-License-Identifier: Apache-2.0
"""Brings what is written to the medium while more is being written.

Without this a gigabyte would gather in memory, and an interrupt, or the end of the work, would wait
for all of it. A thread of its own flushes, so that nobody waits but who writes faster than the
medium: at most twice the interval is dirty.
"""

from __future__ import annotations

import os
import threading

INTERVAL = 32 << 20
"""Bytes after which the medium begins with them."""


class Flusher:
    """Counts what is written to a file or device, and flushes it time and again."""

    def __init__(self, fd: int, interval: int = INTERVAL) -> None:
        self._fd = fd
        self._interval = interval
        self._lock = threading.Lock()
        self._one_at_a_time = threading.Lock()
        self._dirty = 0
        self._running: threading.Thread | None = None
        self._error: OSError | None = None

    def wrote(self, length: int) -> None:
        """Count bytes; when there are enough, begin to flush, after the flush before has ended.

        Raises:
            OSError: an earlier flush failed. Linux tells each failure once, so it is kept.
        """
        with self._lock:
            self._dirty += length
            if self._dirty < self._interval:
                return
            self._dirty = 0
        with self._one_at_a_time:
            self._join()
            self._running = threading.Thread(target=self._flush, name="flush", daemon=True)
            self._running.start()

    def wait(self) -> None:
        """Return when no flush is running.

        Raises:
            OSError: one failed.
        """
        with self._one_at_a_time:
            self._join()

    def _join(self) -> None:
        if self._running is not None:
            self._running.join()
            self._running = None
        if self._error is not None:
            raise self._error

    def _flush(self) -> None:
        try:
            os.fdatasync(self._fd)
        except OSError as error:
            self._error = error

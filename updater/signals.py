# SPDX-License-Identifier: Apache-2.0
"""SIGINT and SIGTERM end a run in order; the second one ends it at once."""

from __future__ import annotations

import os
import signal
import threading
from contextlib import suppress
from types import FrameType, TracebackType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
_WAITING = b"\ncaflip: stopping in order; once more to end at once\n"


class Interruption:
    """Raises KeyboardInterrupt in the main thread at the first signal.

    A library written in C may swallow an exception that is raised in one of its callbacks, so the
    request is also remembered and raised again by `check`.
    """

    def __init__(self) -> None:
        self.requested = False
        self._before: dict[signal.Signals, signal.Handlers | int | None] = {}

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                # Who starts us with a signal ignored (nohup, a shell's background job) means it.
                if signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.getsignal(number)  # type: ignore[assignment]
                    signal.signal(number, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def check(self) -> None:
        """Raise KeyboardInterrupt if a signal came before; only the main thread is interrupted."""
        if self.requested and threading.current_thread() is threading.main_thread():
            raise KeyboardInterrupt

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self.requested = True
        for each in self._before:
            signal.signal(each, signal.SIG_DFL)
        with suppress(OSError):
            if os.isatty(2):
                os.write(2, _WAITING)
        raise KeyboardInterrupt

# SPDX-License-Identifier: Apache-2.0
"""When a store as a whole is given up, so that the next one is asked soon."""

from __future__ import annotations

import time

from images.deadline import Deadline
from images.errors import ImageError, StoreUnavailable
from images.stores.rules import Sign, Verdict
from images.stores.settings import HttpSettings
from images.stores.transfer import Reply

_ENOUGH_FAILURES = 8
_PATIENCE_S = 2.0
"""A server that is being restarted refuses connections for a moment."""


class Health:
    """Whether a store is worth asking, for as long as the store object lives.

    It is down
    - after 8 requests in a row without any answer (or with 401 or 403), when nothing was ever
      answered, and no earlier than 2 s after the first one: this costs one stall, not one a chunk;
    - when nothing was delivered for `deadline_s`, and what was still under way has failed;
    - at once when its certificate is wrong, or it asks to be left alone for longer than that.

    Attributes:
        down: why, None while it is up.
    """

    def __init__(self, name: str, settings: HttpSettings) -> None:
        self.down: ImageError | None = None
        self._name = name
        self._deadline = Deadline(settings.deadline_s)
        self._began_s: float | None = None
        self._answered = False
        self._in_a_row = 0
        self._last_reason = "no answer"

    @property
    def overdue(self) -> bool:
        """Nothing was delivered for too long."""
        return self._deadline.expired

    def begin(self) -> None:
        """Start the clock: nothing was asked of the store until now."""
        self._deadline.renew()
        if self._began_s is None:
            self._began_s = time.monotonic()

    def note(self, reply: Reply, verdict: Verdict) -> None:
        """Learn from one reply."""
        sign = verdict.sign
        if sign is Sign.WELL:
            self._answered = True
            self._in_a_row = 0
            self._deadline.renew()
            return
        self._last_reason = reply.reason or f"status {reply.status}"
        if sign is Sign.BROKEN and isinstance(verdict.then, ImageError):
            self.down = verdict.then
        if self._answered or sign not in (Sign.SILENT, Sign.FORBIDDEN):
            return
        self._in_a_row += 1
        if self._in_a_row >= _ENOUGH_FAILURES:
            if isinstance(verdict.then, ImageError) and sign is Sign.FORBIDDEN:
                self.down = verdict.then
            elif self._began_s is not None and time.monotonic() - self._began_s >= _PATIENCE_S:
                self.give_up()

    def give_up(self) -> None:
        """Call the store down because it does not deliver."""
        self.down = StoreUnavailable(f"{self._name} is down: {self._last_reason}")

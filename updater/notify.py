# SPDX-License-Identifier: Apache-2.0
"""What systemd is told: sd_notify(3), without libsystemd.

READY=1 before the work begins, as casync does; STATUS= with the phase and its share; WATCHDOG=1
whenever work moves on, so that the watchdog bites when it does not; STOPPING=1 at the end.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING

from images.events import Phase, Progress
from updater.units import format_bytes, format_percent

if TYPE_CHECKING:
    from updater.agent.events import AgentEvent

STATUS_INTERVAL_S = 1.0


class Notifier:
    """Sends datagrams to `NOTIFY_SOCKET`, or nothing where there is none.

    Attributes:
        watchdog_s: how often `alive` should be called, None where nobody watches.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._address: str | None = None
        self._phase: Phase | None = None
        self._status_due_s = 0.0
        self.watchdog_s = _watchdog_interval_s(environment)
        self._watchdog_due_s = 0.0
        path = environment.get("NOTIFY_SOCKET", "")
        if path.startswith(("/", "@")):
            self._address = "\0" + path[1:] if path[0] == "@" else path

    def ready(self) -> None:
        """The service runs."""
        self._send("READY=1")

    def stopping(self) -> None:
        """The service ends."""
        self._send("STOPPING=1")

    def alive(self) -> None:
        """Feed the watchdog, if it is time to: at half of what it allows."""
        now_s = time.monotonic()
        if self.watchdog_s is not None and now_s >= self._watchdog_due_s:
            self._watchdog_due_s = now_s + self.watchdog_s
            self._send("WATCHDOG=1")

    def event(self, event: AgentEvent) -> None:
        """Tell of progress, at most once a second."""
        if self._address is None or not isinstance(event, Progress):
            return
        self.alive()
        now_s = time.monotonic()
        if event.phase is self._phase and now_s < self._status_due_s:
            return
        self._phase, self._status_due_s = event.phase, now_s + STATUS_INTERVAL_S
        status = event.phase.value
        if event.total:
            done, total = format_bytes(event.done), format_bytes(event.total)
            status += f": {format_percent(event.done, event.total)} ({done} of {total})"
        self._send(f"STATUS={status}")

    def _send(self, text: str) -> None:
        if self._address is None:
            return
        import socket  # without a service manager, nobody needs it

        kind = socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        # An update neither waits for whoever should listen, nor fails with them.
        with socket.socket(socket.AF_UNIX, kind) as sender, suppress(OSError):
            sender.sendto(text.encode(), self._address)


def _watchdog_interval_s(environment: Mapping[str, str]) -> float | None:
    """Return half of WATCHDOG_USEC, if it is meant for this process."""
    limit = environment.get("WATCHDOG_USEC", "")
    owner = environment.get("WATCHDOG_PID", "")
    if not limit.isascii() or not limit.isdigit() or (owner and owner != str(os.getpid())):
        return None
    return int(limit) / 2e6

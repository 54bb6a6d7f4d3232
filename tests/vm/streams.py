# SPDX-License-Identifier: Apache-2.0
"""A byte stream from a running machine: kept in a log file, awaited line by line.

A thread drains the socket at all times, since a serial port that nobody reads stalls the guest.
Whoever waits is woken by what arrives; nothing polls.
"""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from pathlib import Path

from tests.vm.deadline import Deadline

_PIECE = 1 << 16


class Closed(Exception):
    """The other end is gone: the machine ended, or was cut."""


class Stream:
    """Lines from a socket.

    Attributes:
        first_s: seconds from the beginning to the first byte; None while there was none.
    """

    def __init__(self, end: socket.socket, log: Path) -> None:
        self._socket = end
        self._log = log
        self._began = time.monotonic()
        self._changed = threading.Condition()
        self._text = ""
        self._position = 0
        self._closed = False
        self.first_s: float | None = None
        self._thread = threading.Thread(target=self._drain, name=f"drain {log.name}", daemon=True)
        self._thread.start()

    def _drain(self) -> None:
        with self._log.open("ab") as log:
            while True:
                try:
                    piece = self._socket.recv(_PIECE)
                except OSError:
                    piece = b""
                log.write(piece)
                log.flush()
                with self._changed:
                    if piece and self.first_s is None:
                        self.first_s = time.monotonic() - self._began
                    self._text += piece.decode("utf-8", "replace").replace("\r", "")
                    self._closed = self._closed or not piece
                    self._changed.notify_all()
                if not piece:
                    return

    def send(self, text: str) -> None:
        """Write to the machine.

        Raises:
            Closed: it is gone.
        """
        try:
            self._socket.sendall(text.encode())
        except OSError as error:
            raise Closed(str(error)) from error

    def wait_for(self, pattern: str, deadline: Deadline) -> re.Match[str]:
        """Return the next whole line that matches; what stood before it is passed over.

        Raises:
            TimeoutError: no such line in time.
            Closed: the machine is gone, and no such line was left.
        """
        expression = re.compile(pattern)
        with self._changed:
            while True:
                while (end := self._text.find("\n", self._position)) >= 0:
                    line = self._text[self._position : end]
                    self._position = end + 1
                    if match := expression.search(line):
                        return match
                if self._closed:
                    raise Closed(f"{self._log.name} ended before {pattern!r}")
                if deadline.expired:
                    raise TimeoutError(f"{self._log.name}: no {pattern!r} in {deadline.seconds} s")
                self._changed.wait(deadline.remaining_s)

    def wait_first(self, deadline: Deadline) -> bool:
        """Wait until a first byte has come; tell whether one has."""
        with self._changed:
            self._changed.wait_for(
                lambda: self.first_s is not None or self._closed, deadline.remaining_s
            )
            return self.first_s is not None

    @property
    def text(self) -> str:
        """All that came so far."""
        with self._changed:
            return self._text

    def close(self) -> None:
        """Close the socket and end the thread."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()

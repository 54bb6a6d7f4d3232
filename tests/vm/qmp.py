# SPDX-License-Identifier: Apache-2.0
"""QEMU's machine protocol, as much as tests need: commands, and events that can be awaited.

JSON objects, one a line (docs/interop/qmp-spec of QEMU): a greeting, then `qmp_capabilities`, then
commands and their answers, with events in between.
"""

from __future__ import annotations

import json
import socket
from collections import deque
from collections.abc import Mapping
from typing import Any

from tests.vm.deadline import Deadline

ANSWER_S = 30.0
"""A command is answered by QEMU's main loop, which a guest cannot stop."""


class QmpError(Exception):
    """QEMU refused a command."""


class Qmp:
    """One connection."""

    def __init__(self, end: socket.socket) -> None:
        self._socket = end
        self._buffer = b""
        self._events: deque[str] = deque()
        deadline = Deadline(ANSWER_S)
        while "QMP" not in self._receive(deadline):
            pass
        self.execute("qmp_capabilities")

    def execute(self, command: str, arguments: Mapping[str, object] | None = None) -> object:
        """Run a command and return what it answers.

        Raises:
            QmpError: it was refused.
            TimeoutError, ConnectionError: QEMU does not answer.
        """
        message = {"execute": command, "arguments": dict(arguments or {})}
        self._socket.sendall(json.dumps(message).encode() + b"\n")
        deadline = Deadline(ANSWER_S)
        while True:
            answer = self._receive(deadline)
            if "return" in answer:
                value: object = answer["return"]
                return value
            if "error" in answer:
                raise QmpError(f"{command}: {answer['error']}")
            self._keep(answer)

    def wait_event(self, name: str, deadline: Deadline) -> None:
        """Wait until an event of this name has come since the last time it was awaited.

        Raises:
            TimeoutError, ConnectionError.
        """
        while name not in self._events:
            self._keep(self._receive(deadline))
        while self._events.popleft() != name:
            pass

    def _keep(self, message: Mapping[str, Any]) -> None:
        if "event" in message:
            self._events.append(str(message["event"]))

    def _receive(self, deadline: Deadline) -> dict[str, Any]:
        while b"\n" not in self._buffer:
            self._socket.settimeout(max(deadline.remaining_s, 0.001))
            piece = self._socket.recv(1 << 16)
            if not piece:
                raise ConnectionError("QEMU is gone")
            self._buffer += piece
        line, self._buffer = self._buffer.split(b"\n", 1)
        message: dict[str, Any] = json.loads(line)
        return message

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

# SPDX-License-Identifier: Apache-2.0
"""Jobs in a running guest: a shell script goes in, its output and exit status come back.

They travel over a virtio serial port of their own, with a number for each job, so success is never
guessed from what the console says. See `guest/init` for the other end. The port lives as long as
QEMU does: a guest that starts again says `UP` again.
"""

from __future__ import annotations

import base64
import itertools
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from tests.vm.deadline import Deadline
from tests.vm.streams import Stream

UP_S = 120.0
"""From power-on to the first process: 2 s (direct kernel) to 8 s (UEFI); 17 s on a bad day."""
JOB_S = 60.0


class JobFailed(AssertionError):
    """A job in the guest ended with another status than 0."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a job brought.

    Attributes:
        status: its exit status; 128 + N where signal N ended it.
        output: its standard output. Standard error is in the log of the console.
    """

    status: int
    output: str


class Guest:
    """The first process of a running system.

    Attributes:
        boot_id: the kernel's own name of this boot.
    """

    _numbers = itertools.count(1)

    def __init__(self, port: Stream, console: Stream, boot_id: str) -> None:
        self._port = port
        self._console = console
        self.boot_id = boot_id

    def attempt(self, script: str, timeout_s: float = JOB_S) -> Outcome:
        """Run a shell script and return how it ended.

        Raises:
            TimeoutError: it did not end.
            Closed: the machine ended.
        """
        deadline = Deadline(timeout_s)
        number = next(self._numbers)
        self._start(number, script)
        try:
            output = self._port.wait_for(rf"^@@ OUT {number} (\S*)$", deadline).group(1)
            status = int(self._port.wait_for(rf"^@@ EXIT {number} (\d+)$", deadline).group(1))
        except TimeoutError as error:
            raise TimeoutError(f"{error}\n{script}\n{self._tail()}") from None
        return Outcome(status, base64.b64decode(output).decode("utf-8", "replace"))

    def run(self, script: str, timeout_s: float = JOB_S) -> str:
        """Run a shell script (`set -e`) that has to succeed, and return its output.

        Raises:
            JobFailed: its status is not 0.
            TimeoutError, Closed: see `attempt`.
        """
        outcome = self.attempt(f"set -e\n{script}", timeout_s)
        if outcome.status != 0:
            raise JobFailed(f"status {outcome.status}: {script}\n{outcome.output}\n{self._tail()}")
        return outcome.output

    def python(self, code: str, timeout_s: float = JOB_S) -> str:
        """Run a Python program that has to succeed, and return its output."""
        return self.run(f"exec python3 -c {shlex.quote(code)}", timeout_s)

    def put(self, path: str, content: str | bytes) -> None:
        """Write a small file."""
        data = content.encode() if isinstance(content, str) else content
        text = base64.b64encode(data).decode()
        self.run(f"mkdir -p $(dirname {path})\nbase64 -d >{path} <<END\n{text}\nEND")

    def start(self, script: str) -> None:
        """Send a job whose end is not awaited: one that is cut, or that ends the system."""
        self._start(next(self._numbers), script)

    def _start(self, number: int, script: str) -> None:
        self._port.send(f"RUN {number} {base64.b64encode(script.encode()).decode()}\n")

    def _tail(self, lines: int = 30) -> str:
        return "\n".join(["console:", *self._console.text.splitlines()[-lines:]])


def wait_up(port: Stream, console: Stream, timeout_s: float = UP_S) -> Guest:
    """Wait until a system runs and takes jobs."""
    try:
        match = port.wait_for(r"^@@ UP (\S+)$", Deadline(timeout_s))
    except TimeoutError as error:
        tail: Sequence[str] = console.text.splitlines()[-30:]
        raise TimeoutError("\n".join([str(error), "console:", *tail])) from None
    return Guest(port, console, match.group(1))

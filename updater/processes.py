# SPDX-License-Identifier: Apache-2.0
"""The one door to other programs: hooks, health checks, systemctl.

A program gets a process group of its own, nothing to read, and a deadline. The end of its output is
kept and the rest drained, so that a chatty program neither blocks nor fills the memory. When it has
ended its whole group goes, with what it left running.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

OUTPUT_LIMIT = 16 << 10
"""Bytes of output that are kept: the last ones, where errors stand."""

GRACE_S = 2.0
"""Between SIGTERM and SIGKILL."""

_READ = 64 << 10
_CANNOT_START = 127  # as shells say


@dataclass(frozen=True, slots=True)
class Finished:
    """How a program ended.

    Attributes:
        status: exit status; negative for the signal that ended it.
        output: the end of standard output and error together.
        seconds: wall time.
        timed_out: it was ended at the deadline.
    """

    status: int
    output: str
    seconds: float
    timed_out: bool

    @property
    def ok(self) -> bool:
        """It ended by itself, with status 0."""
        return self.status == 0 and not self.timed_out

    @property
    def reason(self) -> str:
        """Why it is not ok, in words, with the last line of its output."""
        if self.timed_out:
            text = f"took longer than {self.seconds:.0f} s"
        elif self.status < 0:
            text = f"ended by {signal.Signals(-self.status).name}"
        else:
            text = f"ended with status {self.status}"
        last = self.output.strip().rpartition("\n")[2]
        return f"{text}: {last}" if last else text


def run(
    command: Sequence[str], *, timeout_s: float, environment: Mapping[str, str] | None = None
) -> Finished:
    """Run a program to its end, or to the deadline.

    Args:
        command: the program and its arguments; no shell.
        timeout_s: after which its process group is ended.
        environment: added to ours.

    Returns:
        How it ended; status 127 where it could not be started.
    """
    started = time.monotonic()
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {})},
            process_group=0,
        )
    except OSError as error:
        return Finished(_CANNOT_START, f"{command[0]}: {error.strerror}", 0.0, False)
    output = bytearray()
    timed_out = False
    try:
        if not _drain(process, output, started + timeout_s):
            timed_out = True
            _end_group(process, signal.SIGTERM)
            _drain(process, output, time.monotonic() + GRACE_S)
    finally:
        _end_group(process, signal.SIGKILL)
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
    text = bytes(output).decode("utf-8", "replace")
    return Finished(process.returncode, text, time.monotonic() - started, timed_out)


def _drain(process: subprocess.Popen[bytes], output: bytearray, deadline_s: float) -> bool:
    """Read until the program ends, not until its output does; False at the deadline."""
    assert process.stdout is not None
    pipe = process.stdout.fileno()
    ended = os.pidfd_open(process.pid)
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(pipe, selectors.EVENT_READ)
            selector.register(ended, selectors.EVENT_READ)
            while (left_s := deadline_s - time.monotonic()) > 0:
                ready = {key.fd for key, _ in selector.select(left_s)}
                if pipe in ready:
                    data = os.read(pipe, _READ)
                    output += data
                    del output[:-OUTPUT_LIMIT]
                    if not data:
                        selector.unregister(pipe)
                elif ended in ready:  # and nothing is left to be read
                    return True
        return False
    finally:
        os.close(ended)


def _end_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    # The leader is not waited for yet, so its number cannot be somebody else's.
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)

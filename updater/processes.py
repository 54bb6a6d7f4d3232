# SPDX-License-Identifier: Apache-2.0
"""The one door to other programs: hooks, health checks, systemctl, the reboot.

A program gets a process group of its own, no descriptors but the three, and a deadline. The end of
its output is kept and the rest drained and counted, so that a chatty program neither blocks nor
fills the memory. It is over when the program has ended, not when its output has: whatever it left
running in its group goes with it. What leaves the group (setsid) is a daemon and is let go.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from fcntl import ioctl
from struct import unpack
from termios import FIONREAD
from types import FrameType

OUTPUT_LIMIT = 16 << 10
"""Bytes of output that are kept: the last ones, where errors stand."""

GRACE_S = 2.0
"""Between SIGTERM and SIGKILL."""

KILLED_S = 5.0
"""SIGKILL takes as long as a system call of the kernel's that hangs, on a dead NFS server say."""

BEAT_S = 1.0
"""How often the caller is told that we wait."""

NOT_EXECUTABLE = 126  # as shells say
NOT_FOUND = 127
STATUS_LOST = 255

_READ = 64 << 10
_POLL_S = 0.02  # before Linux 5.3 nothing tells of the end
_OURS = ("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_PID", "LISTEN_FDS")
_HELD = (signal.SIGINT, signal.SIGTERM)


@dataclass(frozen=True, slots=True)
class Finished:
    """How a program ended.

    Attributes:
        status: exit status; negative for the signal that ended it.
        output: the end of standard output and error together.
        seconds: wall time.
        timed_out: it was ended at the deadline.
        dropped: bytes of output before those that were kept.
        problem: why it could not be started, or how it went out of sight; None where it ran.
    """

    status: int
    output: str
    seconds: float
    timed_out: bool
    dropped: int = 0
    problem: str | None = None

    @property
    def ok(self) -> bool:
        """It ended by itself, with status 0."""
        return self.status == 0 and not self.timed_out and self.problem is None

    @property
    def reason(self) -> str:
        """Why it is not ok, in words, with the last line of its output."""
        if self.problem is not None:
            return self.problem
        if self.timed_out:
            text = f"took longer than {self.seconds:.0f} s"
        elif self.status < 0:
            text = f"ended by {_signal_name(-self.status)}"
        else:
            text = f"ended with status {self.status}"
        last = self.output.strip().rpartition("\n")[2]
        return f"{text}: {last}" if last else text


def _silence() -> None:
    """Be told that we wait, and do nothing about it."""


def run(
    command: Sequence[str],
    *,
    timeout_s: float,
    environment: Mapping[str, str] | None = None,
    input: bytes | None = None,
    output_limit: int = OUTPUT_LIMIT,
    alive: Callable[[], None] = _silence,
) -> Finished:
    """Run a program to its end, or to the deadline.

    SIGINT and SIGTERM, where the main thread waits here, end the program first and do afterwards
    what they always do; the second one of them leaves it no time for its own end.

    Args:
        command: the program and its arguments; no shell.
        timeout_s: after which its process group is ended.
        environment: added to ours.
        input: what it reads on standard input; None for nothing.
        output_limit: bytes of output to keep.
        alive: called while waiting, about every `BEAT_S`; feeds a watchdog.

    Returns:
        How it ended; status 127 or 126 where it could not be started.
    """
    started_s = time.monotonic()
    with _signals_held() as held:
        try:
            process = _start(command, environment or {}, input)
        except (OSError, ValueError) as error:  # ValueError: a NUL where there must be none
            return _not_started(command, error)
        with _Running(process, output_limit, held) as running:
            in_time = running.wait(started_s + timeout_s, alive)
            if not in_time:
                running.ask_to_end(alive)
        return Finished(
            process.returncode,
            bytes(running.output).decode("utf-8", "replace"),
            time.monotonic() - started_s,
            not in_time,
            running.dropped,
            running.problem,
        )


def _start(
    command: Sequence[str], environment: Mapping[str, str], given: bytes | None
) -> subprocess.Popen[bytes]:
    # What systemd gave us is not theirs: a hook's READY=1 would be taken for ours.
    ours = {name: value for name, value in os.environ.items() if name not in _OURS}
    with ExitStack() as stack:
        stdin = subprocess.DEVNULL
        if given is not None:
            # A file and no pipe: nobody has to keep writing while the program does not read.
            file = stack.enter_context(os.fdopen(os.memfd_create("caflip-input"), "r+b"))
            file.write(given)
            file.seek(0)
            stdin = file.fileno()
        return subprocess.Popen(
            command,
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**ours, **environment},
            process_group=0,
        )


def _not_started(command: Sequence[str], error: OSError | ValueError) -> Finished:
    why = (error.strerror if isinstance(error, OSError) else None) or str(error)
    missing = isinstance(error, FileNotFoundError)
    problem = f"cannot be started: {why}"
    text = f"{command[0]}: {why}"
    return Finished(NOT_FOUND if missing else NOT_EXECUTABLE, text, 0.0, False, 0, problem)


class _Running:
    """A program from its start until it and its group are gone, which is when the block ends."""

    def __init__(self, process: subprocess.Popen[bytes], limit: int, held: _Held) -> None:
        self.output = bytearray()
        self.dropped = 0
        self.problem: str | None = None
        self._process = process
        self._limit = limit
        self._held = held
        assert process.stdout is not None
        self._pipe = process.stdout.fileno()
        self._selector = selectors.PollSelector()  # takes no descriptor, so it cannot fail
        self._selector.register(self._pipe, selectors.EVENT_READ)
        self._selector.register(held.wake, selectors.EVENT_READ)
        self._pidfd: int | None = None
        with suppress(OSError):  # an old kernel, or a filter of system calls
            self._pidfd = os.pidfd_open(process.pid)
            self._selector.register(self._pidfd, selectors.EVENT_READ)

    def __enter__(self) -> _Running:
        return self

    def __exit__(self, *_: object) -> None:
        # The program is not waited for yet, so that its number, which is also that of the group,
        # cannot be somebody else's.
        self._signal(signal.SIGKILL)
        self._reap()
        self._selector.close()
        if self._pidfd is not None:
            os.close(self._pidfd)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def wait(self, deadline_s: float, alive: Callable[[], None], signals: int = 0) -> bool:
        """Read until the program ends; False at the deadline, and at more signals for us than so.

        They are counted from before the start: one may have come while the program was started.
        """
        while (left_s := deadline_s - time.monotonic()) > 0:
            step_s = min(left_s, BEAT_S if self._pidfd is not None else _POLL_S)
            ready = {key.fd for key, _ in self._selector.select(step_s)}
            alive()
            if self._has_ended():
                self._read_rest()
                return True
            if len(self._held.caught) > signals:
                return False
            if self._pipe in ready:
                self._read(_READ)
        return False

    def ask_to_end(self, alive: Callable[[], None]) -> None:
        """Send SIGTERM, and give the program some time for it."""
        self._signal(signal.SIGTERM)
        self._signal(signal.SIGCONT)  # one that is stopped would not hear it
        self._held.clear()
        # The first one was for that; at the second there is no more time.
        self.wait(time.monotonic() + GRACE_S, alive, min(1, len(self._held.caught)))

    def _has_ended(self) -> bool:
        try:
            found = os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:  # somebody who ignores SIGCHLD, or waits for all, took it
            return True
        return found is not None

    def _reap(self) -> None:
        deadline_s = time.monotonic() + KILLED_S
        while not self._has_ended() and time.monotonic() < deadline_s:
            time.sleep(_POLL_S)
        try:
            number, status = os.waitpid(self._process.pid, os.WNOHANG)
        except ChildProcessError:
            self._process.returncode, self.problem = STATUS_LOST, "its exit status was lost"
            return
        if number:
            self._process.returncode = os.waitstatus_to_exitcode(status)
        else:
            self._process.returncode = -signal.SIGKILL  # for Popen, which would wait for it
            self.problem = f"does not end, not even by SIGKILL in {KILLED_S:.0f} s"

    def _read(self, length: int) -> int:
        data = os.read(self._pipe, length)
        self.output += data
        over = max(0, len(self.output) - self._limit)
        del self.output[:over]
        self.dropped += over
        if not data:
            self._selector.unregister(self._pipe)
        return len(data)

    def _read_rest(self) -> None:
        """Read what stands in the pipe now; what others write into it from here on is not read."""
        (left,) = unpack("i", ioctl(self._pipe, FIONREAD, bytes(4)))
        while left > 0 and (length := self._read(min(left, _READ))):
            left -= length

    def _signal(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)


@dataclass(slots=True)
class _Held:
    """Signals that came for us while a program ran.

    Attributes:
        wake: becomes readable when one comes.
    """

    wake: int
    caught: list[int] = field(default_factory=list)

    def note(self, number: int, frame: FrameType | None) -> None:
        self.caught.append(number)
        os.eventfd_write(self.wake, 1)

    def clear(self) -> None:
        """Let the next one wake us again."""
        with suppress(BlockingIOError):
            os.eventfd_read(self.wake)


@contextmanager
def _signals_held() -> Iterator[_Held]:
    """Put off what SIGINT and SIGTERM do until the block is over.

    An exception out of a signal handler comes between any two lines: also between the start of a
    program and the line that makes sure of its end.
    """
    held = _Held(os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK))
    try:
        with ExitStack() as stack:
            stack.callback(os.close, held.wake)
            if threading.current_thread() is threading.main_thread():
                for number in _HELD:
                    before = signal.getsignal(number)
                    # None: a handler in C, which could not be put back.
                    if before is not None and before is not signal.SIG_IGN:
                        stack.callback(signal.signal, number, before)
                        signal.signal(number, held.note)
                if signal.getsignal(signal.SIGCHLD) is signal.SIG_IGN:
                    # Inherited from who started us; the kernel would throw exit statuses away.
                    stack.callback(signal.signal, signal.SIGCHLD, signal.SIG_IGN)
                    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            yield held
    finally:
        if held.caught:
            signal.raise_signal(held.caught[0])


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # of the real-time ones only the first and the last have names
        return f"signal {number}"

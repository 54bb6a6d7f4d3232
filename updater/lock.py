# SPDX-License-Identifier: Apache-2.0
"""One agent at a time on one state.

The lock is the kernel's (flock(2)) and ends with its holder, however that ends. The text in the
file is for people: who holds it. It may be left from before, so it is believed only while it names
a process of this boot that lives.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from images.durable import os_errors
from updater.errors import Locked
from updater.plain import from_plain
from updater.system import System

NAME = "lock"
_MAX_LENGTH = 4096
LOOK_AGAIN_S = 0.05


@dataclass(frozen=True, slots=True)
class Owner:
    """Who holds a lock.

    Attributes:
        pid: of the process.
        verb: what it does, such as `update`.
        boot_id: of the boot in which it began; from the kernel.
        started: when it took the lock, RFC 3339 in UTC.
        start_ticks: when the process started, in ticks since the boot: proc_pid_stat(5), field 22.
    """

    pid: int
    verb: str
    boot_id: str
    started: str
    start_ticks: int


class Lock:
    """Held from `with` to its end.

    Attributes:
        path: of the lock file.
    """

    def __init__(
        self, folder: Path, verb: str, *, wait_s: float = 0.0, system: System | None = None
    ) -> None:
        """Args: `folder` is that of the state; `verb` is told to others; `wait_s` for its turn."""
        self.path = folder / NAME
        self._verb = verb
        self._wait_s = wait_s
        self._system = system or System()
        self._fd = -1

    def __enter__(self) -> Self:
        """Take the lock.

        Raises:
            Locked: somebody else holds it; the message says who.
            NotAccessible, NoSpace, DeviceFault: the file cannot be made or opened.
        """
        with os_errors(str(self.path)):
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
            # Never removed, because whoever waits has it open; and for nobody else to open, because
            # flock(2) asks for no more than that.
            self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            self._take()
        except BaseException:
            os.close(self._fd)
            raise
        with suppress(OSError):  # a full disk: the lock holds without a name
            self._sign()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            with suppress(OSError):
                os.ftruncate(self._fd, 0)
            # A child that was forked and executes nothing still has the descriptor: closing ours
            # would not end the lock then, and this does (flock(2)).
            fcntl.flock(self._fd, fcntl.LOCK_UN)
        finally:
            os.close(self._fd)

    def _take(self) -> None:
        deadline_s = time.monotonic() + self._wait_s
        while True:
            try:
                fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except BlockingIOError:
                if time.monotonic() >= deadline_s:
                    raise self._locked() from None
            time.sleep(LOOK_AGAIN_S)

    def _locked(self) -> Locked:
        owner = read_owner(self.path, self._system)
        hint = "wait until it has ended"
        if owner is None:
            return Locked(f"another caflip holds {self.path}", hint=hint)
        return Locked(
            f"`caflip {owner.verb}` (process {owner.pid}, since {owner.started}) holds {self.path}",
            hint=hint,
        )

    def _sign(self) -> None:
        now = datetime.now(UTC).replace(tzinfo=None).isoformat(timespec="seconds") + "Z"
        pid = os.getpid()
        owner = Owner(pid, self._verb, _boot_id(self._system), now, _ticks(pid, self._system) or 0)
        data = json.dumps(asdict(owner)).encode()
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, data, 0)


def read_owner(path: Path, system: System | None = None) -> Owner | None:
    """Return who holds a lock file, as far as its text can be believed.

    None where there is no text, or where it is of an earlier boot or of a process that is gone.
    """
    system = system or System()
    try:
        with open(path, "rb") as file:
            owner = from_plain(Owner, json.loads(file.read(_MAX_LENGTH)))
        if owner.boot_id != _boot_id(system) or _ticks(owner.pid, system) != owner.start_ticks:
            return None
    except (OSError, ValueError, RecursionError):
        return None
    return owner


def _boot_id(system: System) -> str:
    return system.text("/proc/sys/kernel/random/boot_id") or ""


def _ticks(pid: int, system: System) -> int | None:
    """Return when a process started; None where it is gone."""
    stat = system.text(f"/proc/{int(pid)}/stat")
    if stat is None:
        return None
    # The name, in brackets, may have spaces and brackets of its own.
    words = stat.rpartition(")")[2].split()
    return int(words[19]) if len(words) > 19 and words[19].isdigit() else None

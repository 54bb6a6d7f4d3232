# SPDX-License-Identifier: Apache-2.0
"""The seam: every call that changes a file below one folder is carried out and logged, in order.

Nothing has to be told which modules write. What got past the seam shows when the log, replayed over
the files as they were, does not end with the files as they are.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, Self
from unittest.mock import patch

from images import linux
from images.events import Phase, Progress
from tests.crash.media import (
    Entry,
    Flush,
    FlushNames,
    Medium,
    Names,
    Operation,
    Resize,
    Saved,
    Variable,
    Write,
    Zero,
)
from updater.agent.events import AgentEvent, Step, StepBegan
from updater.state import State
from updater.state_files import StateFiles

PHASES = {Phase.ASSEMBLE: Step.WRITE, Phase.FLUSH: Step.SETTLE}
"""Steps that the engine's own progress tells: the slot is marked bad after `write slot` began."""


class Recorder:
    """Logs while the `with` block runs. Its `sink` tells which step of the agent it is.

    Attributes:
        entries: the log.
    """

    def __init__(self, folder: Path, names: Mapping[str, int], variables: str | None) -> None:
        """Args:
        folder: what is not below it is not logged.
        names: numbers of the files that are there, by path below `folder`.
        variables: folder of firmware variables, below `folder`; None if there is none.
        """
        self.entries: list[Entry] = []
        self._folder = folder
        self._variables = variables
        self._names = dict(names)
        self._next = max(names.values(), default=-1) + 1
        self._open: dict[int, str] = {}
        self._files: dict[int, int] = {}
        self._step = "open"
        self._lock = threading.RLock()
        self._patched = ExitStack()

    def sink(self, event: AgentEvent) -> None:
        """Take the agent's events."""
        if isinstance(event, StepBegan):
            self._step = event.step.value
        elif isinstance(event, Progress) and event.phase in PHASES:
            self._step = PHASES[event.phase].value

    def __enter__(self) -> Self:
        calls: tuple[tuple[ModuleType | type, str, Callable[..., Any]], ...] = (
            (os, "open", self._opened),
            (os, "close", self._closed),
            (os, "write", self._written),
            (os, "pwrite", self._written_at),
            (os, "ftruncate", self._resized),
            (os, "fsync", self._flushed),
            (os, "fdatasync", self._flushed),
            (os, "sync", self._flushed_all),
            (os, "rename", self._renamed),
            (os, "replace", self._renamed),
            (os, "unlink", self._removed),
            (os, "remove", self._removed),
            (linux, "punch_hole", self._zeroed),
            (linux, "zero_out", self._zeroed),
            (linux, "clone_range", self._cloned),
            (linux, "syncfs", self._flushed_all),
            (StateFiles, "save", self._saved),
        )
        for module, name, recording in calls:
            real = getattr(module, name)
            self._patched.enter_context(patch.object(module, name, _bound(self, recording, real)))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._patched.close()

    def under_lock(self, recording: Callable[..., Any], *arguments: Any, **named: Any) -> Any:  # noqa: ANN401 (any system call)
        """Carry out one call and log it, before another thread's."""
        with self._lock:
            return recording(*arguments, **named)

    def _log(self, operation: Operation) -> None:
        self.entries.append(Entry(self._step, operation))

    def _below(self, path: str | Path) -> str | None:
        """Return a path below the folder, None for all others."""
        try:
            return str(Path(os.path.abspath(path)).relative_to(self._folder))
        except ValueError:
            return None

    def _variable(self, path: str) -> bool:
        return self._variables is not None and path.startswith(f"{self._variables}/")

    def _new(self) -> int:
        self._next += 1
        return self._next - 1

    def _opened(
        self,
        real: Callable[..., int],
        path: str | Path,
        flags: int,
        mode: int = 0o777,
        **more: int | None,
    ) -> int:
        fd = real(path, flags, mode, **more)
        below = self._below(path) if isinstance(path, (str, os.PathLike)) else None
        if below is None:
            return fd
        self._open[fd] = below
        if flags & os.O_CREAT and below not in self._names and not self._variable(below):
            self._names[below] = self._new()
            self._log(Names(_folder_of(below), ((below, self._names[below]),)))
        elif flags & os.O_TRUNC:
            self._log(Resize(self._names[below], 0))
        if below in self._names:
            self._files[fd] = self._names[below]
        return fd

    def _closed(self, real: Callable[[int], None], fd: int) -> None:
        self._open.pop(fd, None)
        self._files.pop(fd, None)
        real(fd)

    def _written(self, real: Callable[..., int], fd: int, data: bytes) -> int:
        at = os.lseek(fd, 0, os.SEEK_CUR) if fd in self._open else 0
        count = real(fd, data)
        self._wrote(fd, bytes(data[:count]), at)
        return count

    def _written_at(self, real: Callable[..., int], fd: int, data: bytes, offset: int) -> int:
        count = real(fd, data, offset)
        self._wrote(fd, bytes(data[:count]), offset)
        return count

    def _wrote(self, fd: int, data: bytes, offset: int) -> None:
        path = self._open.get(fd)
        if path is not None and self._variable(path):
            self._names[path] = self._new()
            self._log(Variable(path, self._names[path], data))
        elif path is not None:
            self._log(Write(self._files[fd], offset, data))

    def _resized(self, real: Callable[..., None], fd: int, length: int) -> None:
        real(fd, length)
        if fd in self._open and not self._variable(self._open[fd]):
            self._log(Resize(self._files[fd], length))

    def _flushed(self, real: Callable[..., None], fd: int) -> None:
        # The log takes the medium's place: real flushes would prove nothing, and take time.
        if fd not in self._open:
            real(fd)
        elif fd in self._files:
            self._log(Flush(self._files[fd]))
        else:
            self._log(FlushNames(self._open[fd]))

    def _flushed_all(self, real: Callable[..., None], *arguments: int) -> None:
        self._log(Flush(None))

    def _renamed(self, real: Callable[..., None], old: str | Path, new: str | Path) -> None:
        real(old, new)
        before, after = self._below(old), self._below(new)
        if before is not None and after is not None:
            file = self._names.pop(before)
            self._names[after] = file
            self._log(Names(_folder_of(after), ((before, None), (after, file))))

    def _removed(self, real: Callable[..., None], path: str | Path, **more: int) -> None:
        real(path, **more)
        below = self._below(path)
        if below is not None:
            file = self._names.pop(below)
            gone = Variable(below, file, None)
            self._log(gone if self._variable(below) else Names(_folder_of(below), ((below, None),)))

    def _zeroed(self, real: Callable[..., bool], fd: int, offset: int, length: int) -> bool:
        done = real(fd, offset, length)
        if done and fd in self._files:
            self._log(Zero(self._files[fd], offset, length))
        return done

    def _saved(self, real: Callable[..., State], *arguments: object) -> State:
        state = real(*arguments)
        self._log(Saved(state.generation))
        return state

    def _cloned(self, real: Callable[..., bool], fd: int, offset: int, *source: int) -> bool:
        done = real(fd, offset, *source)
        if done and fd in self._files:
            self._log(Write(self._files[fd], offset, os.pread(fd, source[-1], offset)))
        return done


def _bound(
    recorder: Recorder, recording: Callable[..., Any], real: Callable[..., Any]
) -> Callable[..., Any]:
    def call(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401 (any system call)
        return recorder.under_lock(recording, real, *arguments, **named)

    return call


def _folder_of(path: str) -> str:
    return str(Path(path).parent)


def replayed(medium: Medium, entries: Sequence[Entry]) -> dict[str, bytes]:
    """Return the files after a whole log, nothing lost."""
    for entry in entries:
        medium = medium.after(entry.operation)
    return medium.files(medium.pending)

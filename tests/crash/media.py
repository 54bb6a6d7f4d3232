# SPDX-License-Identifier: Apache-2.0
"""What a program does to files, in order, and what of it a power cut may leave.

Flushes count per file and per folder, as POSIX has it: what was written to a file is durable after
the flush of that file, and a name after the flush of its folder. Until then any part of it may be
there. A rename is one step. Variables of UEFI firmware are durable, and whole, with the call
(UEFI specification 2.10, section 8.2.3).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Write:
    """Bytes put into a file."""

    file: int
    offset: int
    data: bytes

    @property
    def length(self) -> int:
        return len(self.data)

    def part(self, start: int, stop: int) -> Write:
        """Return the piece from `start` to `stop`, counted from its own first byte."""
        return Write(self.file, self.offset + start, self.data[start:stop])

    def applied(self, content: bytearray) -> None:
        if len(content) < self.offset:
            content.extend(bytes(self.offset - len(content)))
        content[self.offset : self.offset + len(self.data)] = self.data


@dataclass(frozen=True, slots=True)
class Zero:
    """A hole punched into a file, a discard, or zeros by the device's own command."""

    file: int
    offset: int
    length: int

    def part(self, start: int, stop: int) -> Zero:
        """See `Write.part`."""
        return Zero(self.file, self.offset + start, stop - start)

    def applied(self, content: bytearray) -> None:
        stop = min(self.offset + self.length, len(content))
        content[self.offset : stop] = bytes(max(0, stop - self.offset))


@dataclass(frozen=True, slots=True)
class Resize:
    """A file given another length."""

    file: int
    length: int

    def applied(self, content: bytearray) -> None:
        del content[self.length :]
        content.extend(bytes(self.length - len(content)))


@dataclass(frozen=True, slots=True)
class Names:
    """Names of one folder that change together: made, renamed, or removed (None).

    Attributes:
        changes: paths below the device's folder, with the number of the file.
    """

    folder: str
    changes: tuple[tuple[str, int | None], ...]


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable of the firmware set, or removed (None): durable with the call."""

    path: str
    file: int
    data: bytes | None


@dataclass(frozen=True, slots=True)
class Flush:
    """What was written to a file is durable; `file` None: to all, and all names."""

    file: int | None


@dataclass(frozen=True, slots=True)
class FlushNames:
    """The names in a folder are durable."""

    folder: str


@dataclass(frozen=True, slots=True)
class Saved:
    """The agent was told that its state is durable: from here on this generation is promised."""

    generation: int


Change: TypeAlias = Write | Zero | Resize | Names
Operation: TypeAlias = Change | Variable | Flush | FlushNames | Saved


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a log: what was done, and in which step of the update."""

    step: str
    operation: Operation


@dataclass(frozen=True, slots=True)
class Medium:
    """What is durable, and what has been written since, in order.

    Attributes:
        names: numbers of files by path.
        data: durable content by number; a file that is not there is empty.
        pending: what a cut may lose.
    """

    names: Mapping[str, int]
    data: Mapping[int, bytes]
    pending: tuple[Change, ...] = ()

    @classmethod
    def holding(cls, files: Mapping[str, bytes]) -> Medium:
        """Return a medium with these files, numbered in order of their paths."""
        paths = sorted(files)
        return cls(
            {path: number for number, path in enumerate(paths)},
            {number: files[path] for number, path in enumerate(paths)},
        )

    def after(self, operation: Operation) -> Medium:
        """Return the medium after one more operation."""
        match operation:
            case Flush(None):
                return self._settled(self.pending)
            case Flush(file):
                return self._settled([c for c in self.pending if _file_of(c) == file])
            case FlushNames(folder):
                names = [c for c in self.pending if isinstance(c, Names) and c.folder == folder]
                return self._settled(names)
            case Variable(path, file, data):
                rest = {name: number for name, number in self.names.items() if name != path}
                if data is None:
                    return replace(self, names=rest)
                return replace(self, names={**rest, path: file}, data={**self.data, file: data})
            case Saved():
                return self
            case _:
                return replace(self, pending=(*self.pending, operation))

    def files(self, chosen: Sequence[Change]) -> dict[str, bytes]:
        """Return the files when, of what is pending, just this reached the medium."""
        names, data = self._with(chosen)
        return {path: bytes(data.get(number, b"")) for path, number in names.items()}

    def _settled(self, changes: Sequence[Change]) -> Medium:
        names, data = self._with(changes)
        kept = {id(change) for change in changes}
        return Medium(
            names,
            {number: bytes(content) for number, content in data.items()},
            tuple(change for change in self.pending if id(change) not in kept),
        )

    def _with(
        self, changes: Sequence[Change]
    ) -> tuple[dict[str, int], dict[int, bytes | bytearray]]:
        names = dict(self.names)
        data: dict[int, bytes | bytearray] = dict(self.data)
        for change in changes:
            if isinstance(change, Names):
                for path, file in change.changes:
                    names.pop(path, None)
                    if file is not None:
                        names[path] = file
                continue
            content = data.get(change.file, b"")
            if not isinstance(content, bytearray):
                content = data[change.file] = bytearray(content)
            change.applied(content)
        return names, data


def _file_of(change: Change) -> int | None:
    return None if isinstance(change, Names) else change.file


def files_below(folder: Path, *places: str) -> dict[str, bytes]:
    """Return the content of files and of all files in folders, by path below `folder`."""
    found = {}
    for place in places:
        path = folder / place
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file():
                found[str(file.relative_to(folder))] = file.read_bytes()
    return found

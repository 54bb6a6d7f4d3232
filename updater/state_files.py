# SPDX-License-Identifier: Apache-2.0
"""The state on its medium: two checksummed copies, written in turn.

    state-0.json, state-1.json   {"sha256": ..., "state": {"schema": 1, "generation": N, ...}}
    index-SLOT-CLASS.caibx       the index of what a slot holds, by the digest in its record

A write replaces the older copy, so a cut leaves the newer one. A copy that cannot be believed is
told of and replaced at the next write. Two such copies leave nothing: the agent goes on with what
slots and bootloader say, and tells so. The text that is digested is canonical JSON: sorted keys,
no white space, ASCII.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import types
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union, get_args, get_origin, get_type_hints

from images.durable import os_errors, replace_file
from images.errors import IndexInvalid, NotAccessible
from updater.errors import StateCorrupt, StateNewer
from updater.plain import from_plain, to_plain
from updater.state import SCHEMA, State

if TYPE_CHECKING:
    from images.index import Index

MAX_LENGTH = 1 << 20
"""Bytes of a copy; 64 lines of history, 16 failures and some keys are a tenth of it."""

Write = Callable[[Path, bytes, int], None]
"""As `replace_file`: the file has its new content when it returns, or its old one."""


class StateFiles:
    """The folder that the state lives in.

    Attributes:
        damage: what was found wrong when it was read, in words; empty if nothing was.
        lost: no copy could be believed, and yet there was one: what only the state knows is gone.
    """

    def __init__(self, folder: Path, *, write: Write = replace_file) -> None:
        """Args: `write` is a seam for tests that cut the power."""
        self._folder = folder
        self._write = write
        self.damage: tuple[str, ...] = ()
        self.lost = False
        self._newest = 1  # which copy the last state is in: the other one is written next
        self._generation = 0  # of that copy: what is written next has to outrank it

    def load(self) -> State:
        """Read the newest copy that can be believed; a fresh state where there is none.

        Raises:
            StateNewer: a later caflip wrote it.
        """
        damage = []
        best: State | None = None
        for number in (0, 1):
            path = self._copy(number)
            try:
                data = _read(path)
                if data is None:
                    continue
                state = parse_state(data)
            except ValueError as error:
                damage.append(f"{path} cannot be believed: {error}")
                continue
            if best is None or state.generation > best.generation:
                best, self._newest = state, number
                self._generation = state.generation
        self.damage = tuple(damage)
        self.lost = best is None and bool(damage)
        return State() if best is None else best

    def load_whole(self) -> State:
        """Read the state for somebody to whom a fresh one is no substitute.

        Raises:
            StateCorrupt: there are copies, and none can be believed.
            StateNewer: a later caflip wrote it.
        """
        state = self.load()
        if self.lost:
            raise StateCorrupt("; ".join(self.damage))
        return state

    def save(self, state: State, now: datetime) -> State:
        """Write the state durably over the older copy; return it as it was written.

        A copy that was found damaged is written too, after the other one.

        Raises:
            NoSpace, DeviceFault, NotAccessible: it cannot be written; the newest copy stays.
        """
        generation = max(state.generation, self._generation) + 1
        written = replace(state, schema=SCHEMA, generation=generation, written=now)
        data = state_bytes(written)
        with os_errors(str(self._folder)):
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o755)
            self._forget_unfinished()
        older = 1 - self._newest
        self._write(self._copy(older), data, 0o600)
        self._newest, self._generation = older, generation
        if self.lost:  # the copy just written took the place of one of two bad ones
            self._write(self._copy(1 - older), data, 0o600)
        self.damage, self.lost = (), False
        return written

    def keep_index(self, slot: str, slot_class: str, index: Index) -> None:
        """Keep the index of what a slot is being given.

        Raises:
            NoSpace, DeviceFault, NotAccessible: it cannot be written; the one before stays.
        """
        with os_errors(str(self._folder)):
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o755)
        self._write(self._index(slot, slot_class), index.to_bytes(), 0o644)

    def index_path(self, slot: str, slot_class: str, sha256: bytes) -> Path | None:
        """Return the kept index of a slot, if it is the one that its record names."""
        path = self._index(slot, slot_class)
        with suppress(OSError), open(path, "rb") as file:
            if hashlib.file_digest(file, "sha256").digest() == sha256:
                return path
        return None

    def load_index(self, slot: str, slot_class: str, sha256: bytes) -> Index | None:
        """Return the kept index of a slot, if it is the one that its record names."""
        path = self.index_path(slot, slot_class, sha256)
        if path is None:
            return None
        try:
            from images.index import Index

            return Index.load(path)
        except (IndexInvalid, NotAccessible):
            return None

    def _forget_unfinished(self) -> None:
        """Remove what cuts in the middle of a write have left; only one agent writes at a time."""
        for pattern in (".#state-*", ".#index-*"):
            for path in self._folder.glob(pattern):
                path.unlink(missing_ok=True)

    def _copy(self, number: int) -> Path:
        return self._folder / f"state-{number}.json"

    def _index(self, slot: str, slot_class: str) -> Path:
        return self._folder / f"index-{slot}-{slot_class}.caibx"


def state_bytes(state: State) -> bytes:
    """Return a copy as it is written."""
    body = to_plain(state)
    return b'{"sha256":"%s","state":%s}\n' % (_digest(body).encode(), _canonical(body))


def parse_state(data: bytes) -> State:
    """Read a copy. Fields that a later caflip added are left out.

    Raises:
        ValueError: it cannot be believed.
        StateNewer: it can, and has a schema that is not known here.
    """
    try:
        document = json.loads(data)
        if not isinstance(document, dict) or document.keys() != {"sha256", "state"}:
            raise ValueError("not a state")
        body = document["state"]
        if document["sha256"] != _digest(body):
            raise ValueError("its checksum is another")
    except RecursionError:
        raise ValueError("nested too deep") from None
    schema = body.get("schema") if isinstance(body, dict) else None
    if isinstance(schema, int) and schema > SCHEMA:
        raise StateNewer(f"the state has schema {schema}; {SCHEMA} is known here")
    try:
        return from_plain(State, _known_part(State, body))
    except (TypeError, OverflowError) as error:  # a right checksum over what makes no sense
        raise ValueError(str(error)) from None


def _known_part(kind: Any, value: object) -> object:  # noqa: ANN401 (the JSON edge)
    """Return a JSON value without the fields that the records of this version do not have."""
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        (inner,) = (each for each in get_args(kind) if each is not type(None))
        return _known_part(inner, value)
    if origin is tuple and isinstance(value, list):
        return [_known_part(get_args(kind)[0], item) for item in value]
    if isinstance(origin, type) and issubclass(origin, Mapping) and isinstance(value, dict):
        return {key: _known_part(get_args(kind)[1], item) for key, item in value.items()}
    if dataclasses.is_dataclass(kind) and isinstance(value, dict):
        hints = get_type_hints(kind)
        return {key: _known_part(hints[key], item) for key, item in value.items() if key in hints}
    return value


def _canonical(body: object) -> bytes:
    return json.dumps(body, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def _digest(body: object) -> str:
    return hashlib.sha256(_canonical(body)).hexdigest()


def _read(path: Path) -> bytes | None:
    """Return the bytes of a copy, None where there is none.

    Raises:
        ValueError: it is too long, or cannot be read: the other copy may do.
    """
    try:
        with open(path, "rb") as file:
            data = file.read(MAX_LENGTH + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ValueError(str(error.strerror)) from error
    if len(data) > MAX_LENGTH:
        raise ValueError(f"longer than {MAX_LENGTH} bytes")
    return data

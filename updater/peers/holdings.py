# SPDX-License-Identifier: Apache-2.0
"""The chunks that this device can give: those of signed indexes, read from the slots themselves.

No chunk store is kept for it. A chunk is digested before it leaves, so whatever else stands at its
place, on a slot that is being written or has rotted, never does.
"""

from __future__ import annotations

import mmap
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

from images.digests import ChunkId
from images.ids import IdTable
from images.index import Index
from images.reading import read_into

HERE, COMING = 1, 2
"""States of a chunk of an image that is being written: on the slot, and asked of the origin."""


@dataclass(frozen=True, slots=True)
class Held:
    """An image on a slot, or the part of it that is there already.

    Attributes:
        index: of the image; from a release whose signatures were checked.
        fd: of the slot, for reading.
        offset: where in it the image begins.
        present: the state of each chunk, a byte each, in memory that processes share; None where
            all are there.
    """

    index: Index
    fd: int
    offset: int
    present: mmap.mmap | None = None
    table: IdTable = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "table", IdTable(self.index))

    def find(self, chunk_id: ChunkId) -> int:
        """Return the number of a chunk that is there; -1 for none."""
        number = self.table.find(chunk_id)
        return number if number >= 0 and self._state(number) == HERE else -1

    def is_coming(self, chunk_id: ChunkId) -> bool:
        """Tell whether a chunk has been asked of the origin."""
        number = self.table.find(chunk_id)
        return number >= 0 and self._state(number) == COMING

    def note(self, chunk_id: ChunkId, state: int) -> None:
        """Note the state of a chunk."""
        number = self.table.find(chunk_id)
        if number >= 0 and self.present is not None:
            self.present[number] = state

    def _state(self, number: int) -> int:
        return HERE if self.present is None else self.present[number]

    def read(self, number: int) -> bytes | None:
        """Return a chunk, or None if its place holds something else."""
        length = self.index.length(number)
        data = bytearray(length)
        try:
            count = read_into(self.fd, self.offset + self.index.start(number), data, length)
        except OSError:
            return None
        if count < length or self.index.digest.of(data) != self.index.id(number):
            return None
        return bytes(data)


def presence(index: Index) -> mmap.mmap:
    """Return shared memory for a byte a chunk; nothing is there yet."""
    return mmap.mmap(-1, max(1, len(index)))


class Holdings:
    """All images on all slots."""

    def __init__(self, held: Sequence[Held]) -> None:
        self.held = tuple(held)
        self._reading = threading.Semaphore(4)  # so many chunks are in memory to be read at once

    def has(self, chunk_id: ChunkId) -> bool:
        """Tell whether a chunk should be there."""
        return any(held.find(chunk_id) >= 0 for held in self.held)

    def read(self, chunk_id: ChunkId) -> bytes | None:
        """Return a chunk; None where it is not there after all."""
        with self._reading:
            for held in self.held:
                number = held.find(chunk_id)
                if number >= 0 and (data := held.read(number)) is not None:
                    return data
        return None

    def is_coming(self, chunk_id: ChunkId) -> bool:
        """Tell whether a chunk has been asked of the origin."""
        return any(held.is_coming(chunk_id) for held in self.held)

    def note(self, chunk_id: ChunkId, state: int) -> None:
        """Note that a chunk is `HERE`, or `COMING`."""
        for held in self.held:
            held.note(chunk_id, state)

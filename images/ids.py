# SPDX-License-Identifier: Apache-2.0
"""From a chunk id to the number of its first chunk, without an object per chunk."""

from __future__ import annotations

import secrets
from array import array

from images._native import _kernels
from images.digests import ChunkId
from images.index import Index

_LENGTHS = 1 << 18
"""Lengths are remembered modulo this, the largest of the default sizes: a wrong guess costs one
digest."""


class LengthFilter:
    """Lengths of chunks: what is not in here need not be digested to be ruled out."""

    def __init__(self) -> None:
        self._counts = array("I", bytes(4)) * _LENGTHS

    def add(self, length: int) -> None:
        """Remember a chunk's length."""
        self._counts[length % _LENGTHS] += 1

    def remove(self, length: int) -> None:
        """Forget the length of a chunk that was added."""
        self._counts[length % _LENGTHS] -= 1

    def __contains__(self, length: int) -> bool:
        return self._counts[length % _LENGTHS] > 0


class IdTable:
    """A hash table over an index: 8 to 16 bytes a chunk.

    Attributes:
        distinct: how many different ids the index has.
    """

    def __init__(self, index: Index) -> None:
        self._items = index.items
        self._table = array("I", bytes(4)) * (1 << (2 * len(index)).bit_length())
        self._key = secrets.token_bytes(16)
        self.distinct = _kernels.table_fill(self._items, self._table, self._key)

    def find(self, chunk_id: ChunkId) -> int:
        """Return the number of the first chunk with this id, or -1."""
        return _kernels.table_find(self._items, self._table, self._key, chunk_id)

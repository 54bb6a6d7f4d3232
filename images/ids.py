# SPDX-License-Identifier: Apache-2.0
"""From a chunk id to the number of its first chunk, without an object per chunk."""

from __future__ import annotations

import secrets
from array import array

from images._native import _kernels
from images.digests import ChunkId
from images.index import Index


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

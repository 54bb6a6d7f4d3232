# SPDX-License-Identifier: Apache-2.0
"""The `.caibx` chunk index: one packed buffer and a typed view of it.

Layout and every rule: docs/formats.md, "Index". An index of 400,000 chunks is 16 MB here as it is
in the file; there is no object per chunk.
"""

from __future__ import annotations

import os
import struct
import sys
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from images._native import _kernels
from images.digests import ChunkId, Digest
from images.durable import replace_file
from images.errors import IndexInvalid, NotAccessible, SettingInvalid
from images.features import KNOWN, digest_of, flags_for, normalised
from images.sizes import ChunkSizes

CA_FORMAT_INDEX = 0x96824D9C7B129FF9
CA_FORMAT_TABLE = 0xE75B9E112F17417D
CA_FORMAT_TABLE_TAIL_MARKER = 0x4B4F050E5549ECD1

HEADER = struct.Struct("<QQ QQQQ QQ")  # INDEX size, type; flags, min, avg, max; TABLE size, type
ITEM = struct.Struct("<Q32s")  # end offset, chunk id
TAIL = struct.Struct("<QQQQQ")  # 0, 0, offset of INDEX, size of TABLE, marker
ALL_ONES = (1 << 64) - 1

MAX_CHUNKS = 1 << 24
"""1 TiB at the default chunk size; the limit is ours, so that a reader can refuse by length."""

MAX_LENGTH = HEADER.size + MAX_CHUNKS * ITEM.size + TAIL.size

_PIECE = 1 << 20
_WORDS = ITEM.size // 8


class Index:
    """The chunks of a blob, in order. Chunk `i` covers `start(i)` to `end(i)`, exclusive."""

    __slots__ = ("_ends", "flags", "items", "sizes")

    def __init__(
        self, sizes: ChunkSizes, flags: int, items: bytes | bytearray | memoryview
    ) -> None:
        """Wrap packed items.

        Args:
            sizes: minimum, average and maximum of the header.
            flags: the header's feature flags.
            items: 40 bytes for each chunk: little-endian u64 end offset, 32-byte id.

        Raises:
            IndexInvalid: an end offset does not ascend, or a chunk is longer than the maximum.
        """
        self.sizes = sizes
        self.flags = flags
        self.items = memoryview(items).toreadonly()
        # A view of every fifth word: a third of the time that unpacking an item takes.
        self._ends: Sequence[int] = self.items.cast("Q")[::_WORDS]
        if sys.byteorder == "big":
            swapped = array("Q", self._ends)
            swapped.byteswap()
            self._ends = swapped
        bad = _kernels.first_bad_item(self.items, sizes.maximum)
        if bad < len(self):
            raise IndexInvalid(
                f"chunk {bad} ends at {self.end(bad)}, which is not within 1 and "
                f"{sizes.maximum} bytes of its start at {self.start(bad)}"
            )

    @classmethod
    def parse(cls, data: bytes | bytearray | memoryview) -> Index:
        """Read the bytes of a whole `.caibx`.

        Raises:
            IndexInvalid: some rule of the format is broken.
        """
        view = memoryview(data).toreadonly()
        if not HEADER.size + TAIL.size <= len(view) <= MAX_LENGTH:
            raise IndexInvalid(f"{len(view)} bytes cannot be an index")
        size, kind, flags, minimum, average, maximum, table_size, table_kind = HEADER.unpack(
            view[: HEADER.size]
        )
        if (size, kind) != (48, CA_FORMAT_INDEX):
            raise IndexInvalid("not an index: it does not begin with the INDEX record")
        if (table_size, table_kind) != (ALL_ONES, CA_FORMAT_TABLE):
            raise IndexInvalid("the TABLE record does not follow the header")
        if flags & ~KNOWN:
            raise IndexInvalid(f"unknown feature flags {flags & ~KNOWN:#x}")
        if flags != normalised(flags):
            raise IndexInvalid(f"feature flags {flags:#x} are not in normal form")
        try:
            sizes = ChunkSizes(minimum, average, maximum)
        except SettingInvalid as error:
            raise IndexInvalid(str(error)) from None
        items = view[HEADER.size : -TAIL.size]
        if len(items) % ITEM.size:
            raise IndexInvalid(f"{len(view)} bytes hold no whole number of chunks")
        if TAIL.unpack(view[-TAIL.size :]) != _tail(len(items)):
            raise IndexInvalid("the tail does not match the table: the index is cut or has a rest")
        return cls(sizes, flags, items)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Index:
        """Read a `.caibx` file.

        Raises:
            NotAccessible: it cannot be opened or read.
            IndexInvalid: some rule of the format is broken; the message names the file.
        """
        try:
            with open(path, "rb") as file:
                return cls.read(file)
        except OSError as error:
            raise NotAccessible(f"index {os.fspath(path)}: {error.strerror}") from error
        except IndexInvalid as error:
            raise IndexInvalid(f"index {os.fspath(path)}: {error}") from None

    @classmethod
    def read(cls, file: BinaryIO) -> Index:
        """Read a `.caibx` from a file or pipe that is open.

        Raises:
            IndexInvalid: some rule of the format is broken.
            OSError: it cannot be read.
        """
        data = bytearray()
        # Piece by piece: a read allocates all that it is asked for before it begins.
        while len(data) <= MAX_LENGTH and (piece := file.read(_PIECE)):
            data += piece
        return cls.parse(data)

    def to_bytes(self) -> bytes:
        """Return the file, byte for byte as casync writes it."""
        header = HEADER.pack(
            48,
            CA_FORMAT_INDEX,
            self.flags,
            self.sizes.minimum,
            self.sizes.average,
            self.sizes.maximum,
            ALL_ONES,
            CA_FORMAT_TABLE,
        )
        return b"".join((header, self.items, TAIL.pack(*_tail(len(self.items)))))

    def save(self, path: str | os.PathLike[str], mode: int = 0o644) -> None:
        """Write the file durably: temporary file, fsync, rename, fsync of the folder.

        Args:
            path: where to.
            mode: permission bits, as they shall be whatever the umask.

        Raises:
            NotAccessible, NoSpace, DeviceFault: it cannot be written.
        """
        replace_file(Path(path), self.to_bytes(), mode)

    @property
    def digest(self) -> Digest:
        """The algorithm of the ids."""
        return digest_of(self.flags)

    @property
    def blob_length(self) -> int:
        """Bytes of the blob."""
        return self.end(len(self) - 1) if len(self) else 0

    def __len__(self) -> int:
        return len(self._ends)

    def end(self, number: int) -> int:
        """Return the offset of the byte after chunk `number`."""
        return self._ends[number]

    def start(self, number: int) -> int:
        """Return the offset of the first byte of chunk `number`."""
        return self._ends[number - 1] if number else 0

    def length(self, number: int) -> int:
        """Return the bytes of chunk `number`."""
        return self._ends[number] - (self._ends[number - 1] if number else 0)

    def id(self, number: int) -> ChunkId:
        """Return the 32 bytes of the id of chunk `number`."""
        position = number * ITEM.size + 8
        return ChunkId(bytes(self.items[position : position + 32]))

    def chunks(self, first: int = 0, stop: int | None = None) -> Iterator[tuple[int, int, ChunkId]]:
        """Yield `(start, end, id)` of chunks `first` to `stop`, exclusive."""
        stop = len(self) if stop is None else stop
        start = self.start(first) if first < len(self) else 0
        for end, chunk_id in ITEM.iter_unpack(self.items[first * ITEM.size : stop * ITEM.size]):
            yield start, end, chunk_id
            start = end

    def find(self, offset: int) -> int:
        """Return the number of the chunk that holds the byte at `offset`; `len(self)` past it."""
        return _kernels.item_at(self.items, offset)


class IndexBuilder:
    """Collects chunks in order and ends as an `Index`."""

    def __init__(self, sizes: ChunkSizes, digest: Digest) -> None:
        self._sizes = sizes
        self._digest = digest
        self._items = bytearray()

    def append(self, end: int, chunk_id: ChunkId) -> None:
        """Add the next chunk by its end offset and id."""
        self._items += ITEM.pack(end, chunk_id)

    def finish(self) -> Index:
        """Return the index.

        Raises:
            IndexInvalid: a chunk is empty or longer than the maximum, as happens where the
                maximum is below the window of 48 bytes.
        """
        return Index(self._sizes, flags_for(self._digest), self._items)


def _tail(items_length: int) -> tuple[int, int, int, int, int]:
    return (0, 0, 48, 16 + items_length + TAIL.size, CA_FORMAT_TABLE_TAIL_MARKER)

# SPDX-License-Identifier: Apache-2.0
"""Any bytes are refused, or an index in order that comes back as the same bytes."""

from __future__ import annotations

from images.errors import IndexInvalid
from images.ids import IdTable
from images.index import HEADER, TAIL, Index, IndexBuilder

LONGEST = 1024


def fuzz(data: bytes) -> bool:
    return any([_taken(data), _taken(_with_right_tail(data))])


def _taken(data: bytes) -> bool:
    try:
        index = Index.parse(data)
    except IndexInvalid:
        return False
    assert index.to_bytes() == data
    table = IdTable(index)
    builder = IndexBuilder(index.sizes, index.digest)
    position = 0
    for number, (start, end, chunk_id) in enumerate(index.chunks()):
        assert start == position < end <= start + index.sizes.maximum
        assert index.find(start) == index.find(end - 1) == number
        first = table.find(chunk_id)
        assert 0 <= first <= number and index.id(first) == chunk_id
        builder.append(end, chunk_id)
        position = end
    assert position == index.blob_length
    assert index.find(position) == len(index)
    assert builder.finish().items == index.items
    return True


def _with_right_tail(data: bytes) -> bytes:
    """Make the tail fit the table: else hardly any change of the length gets past it."""
    body = data[HEADER.size : -TAIL.size]
    marker = 0x4B4F050E5549ECD1  # casync, src/caformat.h
    tail = TAIL.pack(0, 0, 48, 16 + len(body) + TAIL.size, marker)
    return data[: HEADER.size] + body + tail

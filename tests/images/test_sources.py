# SPDX-License-Identifier: Apache-2.0
"""What is known of a chunk's source, and which lengths are worth a digest."""

from __future__ import annotations

from images.digests import ChunkId, Digest
from images.index import Index, IndexBuilder
from images.sizes import ChunkSizes
from images.sources import Source, SourceMap


def index_of(*lengths: int) -> Index:
    """Return an index of chunks with these lengths, no two of them equal."""
    builder = IndexBuilder(ChunkSizes.of(), Digest.SHA256)
    end = 0
    for number, length in enumerate(lengths):
        end += length
        builder.append(end, ChunkId(number.to_bytes(32, "big")))
    return builder.finish()


def test_only_lengths_of_what_is_lacking_are_wanted() -> None:
    index = index_of(100, 200, 200, 300)
    sources = SourceMap(index, bytearray([0, 0, 0, 1]))
    assert [sources.may_want(length) for length in (100, 200, 300, 400)] == [
        True,
        True,
        False,
        False,
    ]
    sources.assign(0, Source.MOVE, 5)
    assert not sources.may_want(100)
    sources.assign(1, Source.SEED)
    assert sources.may_want(200)
    sources.assign(2, Source.SEED)
    assert not sources.may_want(200)
    assert not sources.wants_any()


def test_a_source_that_is_given_up_is_wanted_again_and_once() -> None:
    sources = SourceMap(index_of(100, 200), bytearray(2))
    for source in (Source.NONE, Source.MOVE, Source.NONE, Source.NONE, Source.SEED, Source.STORE):
        sources.assign(0, source)
        assert sources.may_want(100) == (source is Source.NONE)
    assert sources.wants_any()
    sources.assign(1, Source.STORE)
    assert not sources.wants_any()

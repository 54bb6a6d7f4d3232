# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from images.digests import ChunkId, Digest
from images.index import IndexBuilder
from images.moves import order_moves
from images.sizes import ChunkSizes
from images.sources import Source, SourceMap

SIZES = ChunkSizes(1, 64, 256)


def _chunk(name: int, length: int) -> bytes:
    return (hashlib.sha256(b"%d" % name).digest() * (length // 32 + 1))[:length]


def _sources(old: list[bytes], new: list[bytes]) -> tuple[SourceMap, bytearray]:
    """A target that holds the old chunks and should hold the new: what can move, moves."""
    builder = IndexBuilder(SIZES, Digest.SHA256)
    end = 0
    for data in new:
        end += len(data)
        builder.append(end, Digest.SHA256.of(data))
    index = builder.finish()
    target = bytearray(b"".join(old))
    right = bytearray(
        Digest.SHA256.of(target[start:stop]) == chunk_id for start, stop, chunk_id in index.chunks()
    )
    sources = SourceMap(index, right)
    position = 0
    for data in old:
        leader = sources.find_wanted(Digest.SHA256.of(data))
        if leader >= 0:
            sources.assign(leader, Source.MOVE, position)
        position += len(data)
    return sources, target


def _carry_out(sources: SourceMap, target: bytearray, stash_limit: int) -> set[int]:
    """Carry out the moves on bytes; return the leaders that arrived."""
    index = sources.index
    target.extend(bytes(max(0, index.blob_length - len(target))))
    stash: dict[int, bytes] = {}
    arrived = set()
    for step in order_moves(sources, stash_limit):
        leader = step if step >= 0 else ~step
        place, length = sources.place(leader), index.length(leader)
        data = stash.pop(leader, None) or bytes(target[place : place + length])
        assert Digest.SHA256.of(data) == index.id(leader), "overwritten before it was read"
        if step < 0:
            stash[leader] = data
            assert sum(map(len, stash.values())) <= stash_limit
            continue
        for number in sources.wrong_positions(leader):
            target[index.start(number) : index.end(number)] = data
        arrived.add(leader)
    assert not stash
    return arrived


def test_content_that_moves_forward_moves_without_a_stash() -> None:
    old = [_chunk(n, 40 + n % 7) for n in range(100)]
    sources, target = _sources(old, [_chunk(1000, 13), *old])
    assert len(_carry_out(sources, target, stash_limit=0)) == 100


def test_content_that_moves_backward_moves_without_a_stash() -> None:
    old = [_chunk(n, 40 + n % 7) for n in range(100)]
    sources, target = _sources(old, old[1:])
    assert len(_carry_out(sources, target, stash_limit=0)) == 99


def test_two_chunks_that_change_places_need_the_stash_for_one() -> None:
    old = [_chunk(1, 50), _chunk(2, 50)]
    sources, target = _sources(old, old[::-1])
    assert _carry_out(sources, target, stash_limit=50) == {0, 1}
    assert target == b"".join(old[::-1])


def test_without_room_in_the_stash_one_is_given_up_and_lacks_a_source_again() -> None:
    old = [_chunk(1, 50), _chunk(2, 50)]
    sources, target = _sources(old, old[::-1])
    assert not sources.wants_any()
    arrived = _carry_out(sources, target, stash_limit=49)
    assert len(arrived) == 1
    assert sources.wants_any()
    assert [sources.source(n) for n in {0, 1} - arrived] == [Source.NONE]


def test_a_chunk_that_belongs_in_two_places_gets_there() -> None:
    a, b, c = _chunk(1, 50), _chunk(2, 50), _chunk(3, 50)
    sources, target = _sources([c, a, b], [a, b, a])
    _carry_out(sources, target, stash_limit=50)
    assert target == a + b + a


@settings(max_examples=300)
@given(
    st.lists(st.tuples(st.integers(0, 12), st.integers(1, 60)), min_size=1, max_size=24),
    st.randoms(use_true_random=False),
    st.sampled_from([0, 60, 200, 10_000]),
)
def test_no_move_destroys_what_another_still_needs(
    parts: list[tuple[int, int]], shuffle: random.Random, stash_limit: int
) -> None:
    old = [_chunk(name, length) for name, length in parts]
    new = [*old, _chunk(999, 33)]
    shuffle.shuffle(new)
    sources, target = _sources(old, new)
    movable = {n for n in sources.leaders() if sources.source(n) is Source.MOVE}
    arrived = _carry_out(sources, target, stash_limit)
    if stash_limit == 10_000:
        assert arrived == movable
    for leader in arrived:
        for number in sources.positions(leader):
            start, stop = sources.index.start(number), sources.index.end(number)
            assert Digest.SHA256.of(target[start:stop]) == sources.index.id(leader)


@pytest.mark.parametrize("length", [256, 100])
def test_zeros_and_what_stands_right_are_settled_without_reading(length: int) -> None:
    keep, zeros = _chunk(1, 50), bytes(length)
    builder = IndexBuilder(SIZES, Digest.SHA256)
    end = 0
    for data in (keep, _chunk(2, 50), keep, zeros):
        end += len(data)
        builder.append(end, ChunkId(Digest.SHA256.of(data)))
    sources = SourceMap(builder.finish(), bytearray([0, 0, 1, 0]))
    assert [sources.source(n) for n in (0, 1, 3)] == [Source.COPY, Source.NONE, Source.ZERO]
    assert sources.place(0) == 100
    assert list(sources.wrong_positions(0)) == [0]
    assert sources.wants_any()
    assert sources.may_want(50)
    assert not sources.may_want(51)

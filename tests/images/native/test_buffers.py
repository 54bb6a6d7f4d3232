# SPDX-License-Identifier: Apache-2.0
"""Leaf functions over whole buffers: bits, zeros, index items and the table of chunk ids."""

from __future__ import annotations

import random
import struct
from itertools import pairwise

import pytest

from images._native import _kernels

KEY = bytes(range(16))


def items_of(ends: list[int], ids: list[bytes] | None = None) -> bytes:
    ids = ids if ids is not None else [i.to_bytes(32, "big") for i in range(len(ends))]
    return b"".join(struct.pack("<Q32s", end, id_) for end, id_ in zip(ends, ids, strict=True))


def word_bits(*positions: int, words: int = 4) -> bytearray:
    values = [0] * words
    for position in positions:
        values[position // 64] |= 1 << position % 64
    return bytearray(struct.pack(f"={words}Q", *values))


@pytest.mark.parametrize("position", range(256))
def test_a_bit_is_found_wherever_it_is(position: int) -> None:
    bits = word_bits(position)
    assert _kernels.find_bit(bits, 0, 256) == position
    assert _kernels.find_bit(bits, position, 256) == position
    assert _kernels.find_bit(bits, position, position + 1) == position
    assert _kernels.find_bit(bits, position + 1, 256) == 256
    assert _kernels.find_bit(bits, 0, position) == position  # that is `stop`: none before it


def test_a_bit_is_found_in_a_long_range() -> None:
    for position in range(0, 40 * 64, 11):
        bits = word_bits(position, words=40)
        for start in {0, 1, 64, position - 600, position - 64, position - 1, position}:
            if 0 <= start <= position:
                assert _kernels.find_bit(bits, start, 40 * 64) == position
                assert _kernels.find_bit(bits, start, position + 1) == position
        assert _kernels.find_bit(bits, position + 1, 40 * 64) == 40 * 64


def test_the_first_of_several_bits_is_found() -> None:
    bits = word_bits(3, 64, 200, 255)
    assert [_kernels.find_bit(bits, start, 256) for start in (0, 4, 65, 201)] == [3, 64, 200, 255]


def test_an_empty_range_has_no_bit() -> None:
    full = bytearray(b"\xff" * 8)
    assert _kernels.find_bit(full, 9, 5) == 5
    assert _kernels.find_bit(full, 64, 64) == 64
    assert _kernels.find_bit(b"", 0, 0) == 0


@pytest.mark.parametrize(("start", "stop"), [(-1, 5), (0, 65)])
def test_a_range_outside_of_the_bits_is_refused(start: int, stop: int) -> None:
    with pytest.raises(ValueError, match="outside"):
        _kernels.find_bit(bytearray(8), start, stop)


def test_bits_at_an_odd_address_are_refused() -> None:
    with pytest.raises(ValueError, match="outside"):
        _kernels.find_bit(memoryview(bytearray(16))[1:9], 0, 64)


@pytest.mark.parametrize("length", [*range(70), 4095, 4096, 100_001])
def test_zeros_are_told_from_other_bytes(length: int) -> None:
    memory = bytearray(length + 3)
    for start in range(3):
        view = memoryview(memory)[start : start + length]
        assert _kernels.is_zero(view)
        for position in {0, 1, 15, 16, 17, length // 2, length - 2, length - 1}:
            if 0 <= position < length:
                view[position] = 0x80
                assert not _kernels.is_zero(view)
                view[position] = 0


def test_items_in_order_are_all_good() -> None:
    assert _kernels.first_bad_item(b"", 10) == 0
    assert _kernels.first_bad_item(items_of([1, 11, 12, 2**63, 2**64 - 1]), 2**64 - 1) == 5


@pytest.mark.parametrize(
    ("ends", "maximum", "bad"),
    [
        ([0], 10, 0),
        ([11], 10, 0),
        ([10, 10], 10, 1),
        ([10, 9], 10, 1),
        ([10, 20, 31], 10, 2),
        ([5, 2**64 - 1, 3], 2**64 - 1, 2),
        ([1, 2, 3], 0, 0),
    ],
)
def test_the_first_bad_item_is_named(ends: list[int], maximum: int, bad: int) -> None:
    assert _kernels.first_bad_item(items_of(ends), maximum) == bad
    unaligned = memoryview(b"x" + items_of(ends))[1:]
    assert _kernels.first_bad_item(unaligned, maximum) == bad


def test_a_part_of_an_item_is_refused() -> None:
    with pytest.raises(ValueError, match="40 bytes"):
        _kernels.first_bad_item(bytes(41), 1)
    with pytest.raises(ValueError, match="40 bytes"):
        _kernels.item_at(bytes(41), 1)


def test_the_item_that_holds_an_offset_is_found() -> None:
    for count in range(6):
        ends = [10 * number for number in range(1, count + 1)]
        for offset in range(75):
            expected = sum(end <= offset for end in ends)
            assert _kernels.item_at(items_of(ends), offset) == expected
    huge = [1, 2**63, 2**64 - 1]
    assert [_kernels.item_at(items_of(huge), n) for n in (0, 1, 2**63, 2**64 - 2)] == [0, 1, 2, 2]


@pytest.mark.parametrize("count", [0, 1, 2, 100, 1023])
def test_the_table_finds_the_first_item_of_an_id(count: int) -> None:
    generator = random.Random(count)
    ids = [generator.randbytes(32) for _ in range(count)]
    for i in range(0, count - 5, 7):
        ids[i + 5] = ids[i]
    items = items_of(list(range(1, count + 1)), ids)
    table = bytearray(4 * 1024)
    assert _kernels.table_fill(items, table, KEY) == len(set(ids))
    for id_ in ids:
        assert _kernels.table_find(items, table, KEY, id_) == ids.index(id_)
    for _ in range(20):
        assert _kernels.table_find(items, table, KEY, generator.randbytes(32)) == -1


def test_ids_that_differ_in_one_bit_are_different() -> None:
    ids = [(1 << bit).to_bytes(32, "little") for bit in range(256)]
    items = items_of(list(range(1, 257)), ids)
    table = bytearray(4 * 512)
    assert _kernels.table_fill(items, table, KEY) == 256
    assert [_kernels.table_find(items, table, KEY, id_) for id_ in ids] == list(range(256))


@pytest.mark.parametrize("byte", range(32))
def test_ids_chosen_to_be_alike_do_not_stand_in_a_row(byte: int) -> None:
    """Whoever writes an index chooses the ids: any one byte must move an item about."""
    ids = [bytes(byte) + bytes([i]) + bytes(31 - byte) for i in range(128)]
    table = bytearray(4 * 8192)
    _kernels.table_fill(items_of(list(range(1, 129)), ids), table, random.Random(1).randbytes(16))
    taken = [i for i in range(8192) if table[4 * i : 4 * i + 4] != b"\xff" * 4]
    neighbours = sum(b - a == 1 for a, b in pairwise(taken))
    assert neighbours < 32


def test_a_full_table_still_ends_a_search() -> None:
    items = items_of(list(range(1, 128)))
    table = bytearray(4 * 128)  # one slot stays free
    assert _kernels.table_fill(items, table, KEY) == 127
    assert _kernels.table_find(items, table, KEY, b"\xff" * 32) == -1


def test_another_key_gives_another_order() -> None:
    items = items_of(list(range(1, 101)))
    one, other = bytearray(4 * 256), bytearray(4 * 256)
    _kernels.table_fill(items, one, KEY)
    _kernels.table_fill(items, other, bytes(range(1, 17)))
    assert one != other


@pytest.mark.parametrize(
    ("items", "slots", "key"),
    [
        (items_of([1, 2]), 2, KEY),
        (items_of([1, 2]), 3, KEY),
        (items_of([1, 2])[:-1], 4, KEY),
        (items_of([1, 2]), 4, KEY[:-1]),
        (b"", 0, KEY),
    ],
    ids=["no free slot", "no power of two", "part of an item", "short key", "no slot"],
)
def test_a_table_that_does_not_fit_is_refused(items: bytes, slots: int, key: bytes) -> None:
    with pytest.raises(ValueError, match="fit together"):
        _kernels.table_fill(items, bytearray(4 * slots), key)
    with pytest.raises(ValueError, match="fit together"):
        _kernels.table_find(items, bytearray(4 * slots), key, bytes(32))


def test_a_table_of_other_items_leads_nowhere_outside() -> None:
    table = bytearray(4 * 256)
    _kernels.table_fill(items_of(list(range(1, 201))), table, KEY)
    fewer = items_of([1, 2, 3], [b"\xee" * 32] * 3)
    for number in range(200):
        assert _kernels.table_find(fewer, table, KEY, number.to_bytes(32, "big")) == -1


def test_an_id_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        _kernels.table_find(b"", bytearray(4), KEY, bytes(31))


@pytest.mark.parametrize("lead", [1, 5, 16, 100])
@pytest.mark.parametrize("changed", [0, 4, 5, 20, 21, 36, 49])
def test_the_block_with_a_changed_byte_is_found(lead: int, changed: int) -> None:
    old = bytes(50)
    new = bytearray(50)
    new[changed] = 1
    borders = [0, *range(lead, 50, 16), 50]
    start, stop = next((a, b) for a, b in pairwise(borders) if a <= changed < b)
    assert _kernels.find_block(old, new, lead, 16, 0, True) == start
    assert _kernels.find_block(old, new, lead, 16, start, False) == stop
    assert _kernels.find_block(old, new, lead, 16, stop, True) == 50


def test_buffers_of_different_lengths_have_no_blocks_to_compare() -> None:
    for old, new, lead in ((b"a", b"ab", 1), (b"a", b"a", 0)):
        with pytest.raises(ValueError, match="one length"):
            _kernels.find_block(old, new, lead, 16, 0, True)

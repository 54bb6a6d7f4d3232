# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import ctypes
import mmap
import threading
from collections.abc import Iterator
from itertools import chain

import pytest

from images.parallel import Scratch, adjacent, batches, each


@pytest.mark.parametrize("threads", [1, 3])
def test_results_come_in_order_and_work_is_taken_a_little_ahead(threads: int) -> None:
    taken: list[int] = []

    def work() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    results = each(work(), lambda number: number * 2, threads)
    assert next(results) == 0
    assert len(taken) <= 2 * threads
    assert list(results) == list(range(2, 200, 2))


def test_batches_end_at_the_limit() -> None:
    lengths = [100_000, 300_000, 50_000, 20_000, 400_000, 10]
    found = list(batches(lengths, lambda length: length, 300_000))
    assert found == [[100_000, 300_000], [50_000, 20_000, 400_000], [10]]
    assert list(batches([], len, 1)) == []


def test_very_small_items_do_not_gather_for_ever() -> None:
    found = list(batches([b""] * 1000, len, 256 << 10))
    assert max(map(len, found)) == 16
    assert list(chain.from_iterable(found)) == [b""] * 1000


def test_adjacent_items_are_one_list() -> None:
    spans = [(0, 2), (2, 3), (5, 9), (9, 9), (9, 12), (13, 14)]
    found = list(adjacent(spans, lambda span: span))
    assert found == [[(0, 2), (2, 3)], [(5, 9), (9, 9), (9, 12)], [(13, 14)]]
    assert list(adjacent([], lambda span: span)) == []


def test_each_thread_has_its_own_scratch() -> None:
    scratch = Scratch(10)
    mine = scratch.take(10)
    mine[:] = b"a" * 10

    def other() -> None:
        scratch.take(10)[:] = b"b" * 10

    thread = threading.Thread(target=other)
    thread.start()
    thread.join(30.0)
    assert scratch.take(10) == b"a" * 10
    assert len(scratch.take(50)) == 50
    assert len(scratch.take(5)) == 5


def test_scratch_begins_on_a_page() -> None:
    for length in (1, 10_000, 1 << 20):
        memory = ctypes.c_char.from_buffer(Scratch(0).take(length))
        assert ctypes.addressof(memory) % mmap.PAGESIZE == 0

# SPDX-License-Identifier: Apache-2.0
"""Threads around calls that release the interpreter lock: hashing, (de)compression, reads."""

from __future__ import annotations

import mmap
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

MAX_THREADS = 8
"""More than this only contends for the interpreter lock and the medium."""

_ITEM_COST = 16 << 10
"""Bytes that are digested in the time that an item costs besides its bytes, 10 to 20 us."""


def default_threads() -> int:
    """Return how many threads this process can really run at once, at most `MAX_THREADS`."""
    return max(1, min(len(os.sched_getaffinity(0)), MAX_THREADS))


def each(work: Iterable[T], do: Callable[[T], R], threads: int) -> Iterator[R]:
    """Yield `do(item)` for every item, in order.

    `work` is consumed by the caller's thread, at most `2 * threads` items ahead of what was
    yielded. The first exception ends all; closing the iterator waits for what runs and drops the
    rest.
    """
    running: deque[Future[R]] = deque()
    pool = ThreadPoolExecutor(threads)
    try:
        for item in work:
            running.append(pool.submit(do, item))
            if len(running) >= 2 * threads:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def batches(work: Iterable[T], length: Callable[[T], int], limit: int) -> Iterator[list[T]]:
    """Yield items in lists of `limit` bytes or a little more, so that handing over costs little.

    Args:
        work: the items.
        length: of one, in bytes.
        limit: bytes at which a list ends; the last one may have fewer. Small items count as
            `_ITEM_COST` bytes, so that nobody waits for very many of them.
    """
    batch: list[T] = []
    total = 0
    for item in work:
        batch.append(item)
        total += max(length(item), _ITEM_COST)
        if total >= limit:
            yield batch
            batch, total = [], 0
    if batch:
        yield batch


def adjacent(work: Iterable[T], span: Callable[[T], tuple[int, int]]) -> Iterator[list[T]]:
    """Yield items in lists whose spans follow each other without a gap.

    Args:
        work: the items, in order.
        span: of one, begin and end.
    """
    run: list[T] = []
    stop = 0
    for item in work:
        begin, end = span(item)
        if run and begin != stop:
            yield run
            run = []
        run.append(item)
        stop = end
    if run:
        yield run


class Scratch(threading.local):
    """Memory that each thread uses again and again: new pages cost as much as filling them."""

    def __init__(self, length: int) -> None:
        self._memory = pages(length)

    def take(self, length: int) -> memoryview:
        """Return `length` bytes of any content from a page's begin on, until it takes again."""
        if len(self._memory) < length:
            self._memory = pages(length)
        return self._memory[:length]


def pages(length: int) -> memoryview:
    """Return zeros from a page's begin on, which go back to the system when they are let go."""
    return memoryview(mmap.mmap(-1, max(length, 1), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))

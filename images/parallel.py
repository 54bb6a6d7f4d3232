# SPDX-License-Identifier: Apache-2.0
"""Threads around calls that release the interpreter lock: hashing, (de)compression, reads."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

MAX_THREADS = 8
"""More than this only contends for the interpreter lock and the medium."""


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

# SPDX-License-Identifier: Apache-2.0
"""How fast chunks are digested: each kernel beside OpenSSL, on one core and on all.

All contenders take turns on the same random chunks, whose lengths are spread as those of casync's
cuts are. OpenSSL gets one chunk after the other, a kernel a megabyte of them at a time. On one core
the thread's CPU time counts; on all cores wall time does, so other work on the machine shows.

    python -m bench.digest
"""

from __future__ import annotations

import os
import random
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from images._native import _kernels
from images.digests import Digest
from images.parallel import batches, default_threads
from images.sizes import ChunkSizes

OPENSSL = "openssl"
INPUT_LENGTH = 32 << 20
BATCH_LENGTH = 1 << 20
TURNS = 9

Batch = list[memoryview]


@dataclass(frozen=True, slots=True)
class DigestRow:
    """One contender on some cores.

    Attributes:
        contender: a kernel of ours, or OpenSSL.
        threads: that digest at the same time.
        bytes_per_second: of all of them, the median over the turns.
        times_openssl: how many times as fast as OpenSSL on as many cores.
    """

    contender: str
    threads: int
    bytes_per_second: float
    times_openssl: float


def measure(input_length: int = INPUT_LENGTH, turns: int = TURNS) -> list[DigestRow]:
    """Measure OpenSSL and every kernel that runs here.

    Args:
        input_length: bytes that each contender digests in a turn.
        turns: of each contender.
    """
    digest = Digest.SHA512_256
    contenders: dict[str, Callable[[Batch], object]] = {
        OPENSSL: lambda batch: [digest.of(chunk) for chunk in batch]
    }
    for kernel in _kernels.digest_kernels():
        contenders[kernel] = lambda batch, kernel=kernel: _kernels.digest_each(kernel, batch)  # type: ignore[misc]
    work = list(batches(_chunks(input_length), len, BATCH_LENGTH))
    rows = []
    for threads in sorted({1, default_threads()}):
        seconds: dict[str, list[float]] = {name: [] for name in contenders}
        with ThreadPoolExecutor(threads) as pool:
            for _ in range(turns):
                for name, run in contenders.items():
                    seconds[name].append(_turn(pool, run, work, threads))
        reference = statistics.median(seconds[OPENSSL])
        rows += [
            DigestRow(
                name,
                threads,
                input_length / statistics.median(own),
                reference / statistics.median(own),
            )
            for name, own in seconds.items()
        ]
    return rows


def _turn(
    pool: ThreadPoolExecutor, run: Callable[[Batch], object], work: list[Batch], threads: int
) -> float:
    if threads == 1:
        start = time.thread_time()
        for batch in work:
            run(batch)
        return time.thread_time() - start
    start = time.perf_counter()
    list(pool.map(run, work))
    return time.perf_counter() - start


def _chunks(length: int) -> Batch:
    """Cut random bytes as casync's rule does: evenly spread cuts between minimum and maximum."""
    generator, sizes = random.Random(512), ChunkSizes.of()
    memory = memoryview(generator.randbytes(length))
    chunks = []
    while memory:
        drawn = sizes.minimum + generator.expovariate(1 / (sizes.average - sizes.minimum))
        chunks.append(memory[: min(int(drawn), sizes.maximum)])
        memory = memory[len(chunks[-1]) :]
    return chunks


def main() -> None:
    """Print a table."""
    print(f"SHA-512/256, load {os.getloadavg()[0]:.1f}; one core: CPU time")
    for row in measure():
        speed = row.bytes_per_second / 1e9
        cores = f"{row.threads} core{'s' if row.threads > 1 else ''}"
        print(f"{cores:8} {row.contender:10} {speed:7.2f} GB/s  x {row.times_openssl:5.2f}")


if __name__ == "__main__":
    main()

# SPDX-License-Identifier: Apache-2.0
"""How fast one core finds cuts: each kernel beside casync's own loop.

All contenders take turns on the same piece of memory, pinned to one CPU, and are timed by the
thread's CPU time, so that another process costs them nothing but cache. A ratio is the median of
the ratios of single turns. Every position is hashed: nothing is skipped after a cut. casync's loop
also applies its minimum and maximum, which is next to nothing.

    python -m bench.scan
"""

from __future__ import annotations

import ctypes
import os
import platform
import random
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.casync_loop import ROOT, casync_loops, our_loop
from images._native import _kernels
from images.cuts import scan_block
from images.sizes import WINDOW, ChunkSizes

INPUT_LENGTH = 256 << 20
PIECE_LENGTH = 4 << 20
CACHE = ROOT / ".bench" / "casync"


@dataclass(frozen=True, slots=True)
class ScanRow:
    """One contender on one kind of input.

    Attributes:
        contender: a kernel of ours, or a loop to compare with.
        content: of the input, `random` or `zeros`.
        bytes_per_second: the median over the pieces, of CPU time.
        times_reference: how many times as fast as the reference; the median over the pieces.
    """

    contender: str
    content: str
    bytes_per_second: float
    times_reference: float


@dataclass(frozen=True, slots=True)
class ScanResult:
    """All rows, and what they were measured against and on."""

    rows: tuple[ScanRow, ...]
    reference: str
    cpu: str
    load: float


def measure(cache: Path = CACHE, input_length: int = INPUT_LENGTH) -> ScanResult:
    """Measure every kernel that runs here, and casync's loop, or ours where that is not to be had.

    Args:
        cache: where casync's source is fetched to and kept.
        input_length: bytes of random content, used once by each contender.
    """
    loops = casync_loops(cache) or [our_loop(cache)]
    sizes = ChunkSizes.of()
    bits = bytearray(PIECE_LENGTH // 8)
    contenders: dict[str, Callable[[memoryview, int], object]] = {}
    for loop in loops:
        contenders[loop.name] = lambda piece, address, loop=loop: loop.count_chunks(  # type: ignore[misc]
            address + WINDOW, len(piece) - WINDOW
        )
    for kernel in _kernels.kernels():
        contenders[kernel] = lambda piece, _, kernel=kernel: scan_block(  # type: ignore[misc]
            kernel, piece, bits, sizes
        )
    affinity = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(affinity)})
    try:
        rows = []
        for content in ("random", "zeros"):
            rows += _turns(contenders, content, input_length // PIECE_LENGTH)
    finally:
        os.sched_setaffinity(0, affinity)
    return ScanResult(tuple(rows), loops[0].name, _cpu(), os.getloadavg()[0])


def _turns(
    contenders: dict[str, Callable[[memoryview, int], object]], content: str, pieces: int
) -> list[ScanRow]:
    generator = random.Random(48)
    piece = bytearray(WINDOW + PIECE_LENGTH)
    address = ctypes.addressof(ctypes.c_char.from_buffer(piece))
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    with memoryview(piece) as view:
        order = list(contenders)
        for _ in range(pieces):
            if content == "random":
                view[:] = generator.randbytes(len(piece))
            generator.shuffle(order)
            for name in order:
                run = contenders[name]
                start = time.thread_time()
                run(view, address)
                seconds[name].append(time.thread_time() - start)
    reference = next(iter(seconds.values()))
    return [
        ScanRow(
            name,
            content,
            PIECE_LENGTH / statistics.median(own),
            statistics.median(r / s for r, s in zip(reference, own, strict=True)),
        )
        for name, own in seconds.items()
    ]


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def main() -> None:
    """Print a table."""
    result = measure()
    print(f"{result.cpu}, one core, load {result.load:.1f}; CPU time; x: times {result.reference}")
    for row in result.rows:
        speed = row.bytes_per_second / 1e9
        print(f"{row.content:8} {row.contender:36} {speed:7.2f} GB/s  x {row.times_reference:6.2f}")


if __name__ == "__main__":
    main()

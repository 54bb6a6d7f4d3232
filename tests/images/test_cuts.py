# SPDX-License-Identifier: Apache-2.0
"""The rule of minimum and maximum, and the choice of a kernel."""

from __future__ import annotations

import random

import pytest

from images._native import _kernels
from images.cuts import CutRule, scan_block
from images.errors import SettingInvalid
from images.kernels import KERNEL_VARIABLE, choose_kernel
from images.sizes import WINDOW, ChunkSizes
from tests.images.native import oracle


def cut(data: bytes, sizes: ChunkSizes, block_length: int) -> list[int]:
    """Scan and cut `data` block by block."""
    rule = CutRule(sizes)
    ends: list[int] = []
    padded = bytes(WINDOW) + data
    for offset in range(0, len(data), block_length):
        scanned = padded[offset : offset + WINDOW + block_length]
        bits = bytearray((len(scanned) - WINDOW + 63) // 64 * 8)
        scan_block("portable", scanned, bits, sizes)
        ends += rule.feed(bits, len(scanned) - WINDOW)
    last = rule.finish()
    return ends if last is None else [*ends, last]


def expected(data: bytes, sizes: ChunkSizes) -> list[int]:
    return oracle.cuts(data, sizes.minimum, sizes.average, sizes.maximum, sizes.discriminator)


SIZES = [
    ChunkSizes(64, 256, 1024),
    ChunkSizes(1, 128, 512),
    ChunkSizes(48, 64, 96),
    ChunkSizes(49, 64, 96),
    ChunkSizes(47, 60, 48 + 32),
    ChunkSizes(1, 1, 200),
    ChunkSizes(200, 200, 201),
    ChunkSizes(16, 64, 64),
    ChunkSizes.of(512),
]


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("block_length", [48, 64, 100, 1000, 1 << 20])
def test_cuts_are_those_of_the_specification(sizes: ChunkSizes, block_length: int) -> None:
    generator = random.Random(f"{sizes}{block_length}")
    data = generator.randbytes(12_000) + bytes(3_000) + generator.randbytes(3_000)
    assert cut(data, sizes, block_length) == expected(data, sizes)


@pytest.mark.parametrize("length", range(131))
def test_any_tail_becomes_a_chunk(length: int) -> None:
    sizes = ChunkSizes(64, 64, 65)
    data = random.Random(length).randbytes(length)
    ends = cut(data, sizes, 64)
    assert ends == expected(data, sizes)
    assert ends[-1:] == ([length] if length else [])


@pytest.mark.parametrize("minimum", [48, 49, 64, 100, 1000])
def test_the_first_test_is_made_at_exactly_the_minimum(minimum: int) -> None:
    sizes = ChunkSizes(minimum, 4 * minimum, 16 * minimum)
    generator = random.Random(minimum)
    while True:
        window = generator.randbytes(WINDOW)
        if _kernels.cuts_at(oracle.window_hash(window), sizes.discriminator):
            break
    data = bytes(minimum - WINDOW) + window + bytes(minimum)
    assert cut(data, sizes, 64)[0] == minimum
    one_early = data[1:]
    assert cut(one_early, sizes, 64)[0] != minimum - 1
    assert cut(one_early, sizes, 64) == expected(one_early, sizes)


@pytest.mark.parametrize(
    "sizes", [ChunkSizes(1, 1, 2), ChunkSizes(2, 8, 32), ChunkSizes(16, 16, 47)], ids=str
)
def test_a_maximum_below_the_window_cuts_at_the_window(sizes: ChunkSizes) -> None:
    data = random.Random(1).randbytes(200)
    assert cut(data, sizes, 100) == [48, 96, 144, 192, 200]
    assert expected(data, sizes) == [48, 96, 144, 192, 200]


@pytest.mark.parametrize("length", [1, 3, 47, 48, 64, 100])
@pytest.mark.parametrize("block_length", [1, 50, 300])
def test_fixed_sizes_need_no_marks(length: int, block_length: int) -> None:
    rule = CutRule(ChunkSizes(length, length, length))
    ends: list[int] = []
    for offset in range(0, 1000, block_length):
        ends += rule.feed(b"", min(block_length, 1000 - offset))
    last = rule.finish()
    ends += [] if last is None else [last]
    assert ends == [*range(length, 1000, length), 1000]


def test_zeros_are_cut_at_the_maximum() -> None:
    sizes = ChunkSizes.of(1024)
    assert cut(bytes(10_000), sizes, 333) == [4096, 8192, 10_000]


def test_an_empty_blob_has_no_chunks() -> None:
    rule = CutRule(ChunkSizes.of())
    assert rule.feed(b"", 0) == []
    assert rule.finish() is None
    assert rule.finish() is None


def test_the_best_kernel_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KERNEL_VARIABLE, raising=False)
    assert choose_kernel() == _kernels.kernels()[0]


@pytest.mark.parametrize("kernel", _kernels.kernels())
def test_the_environment_forces_a_kernel(kernel: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KERNEL_VARIABLE, kernel)
    assert choose_kernel() == kernel


def test_a_kernel_that_is_not_there_is_refused_and_others_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(KERNEL_VARIABLE, "mmx")
    with pytest.raises(SettingInvalid, match="CAFLIP_KERNEL=mmx") as caught:
        choose_kernel()
    assert caught.value.hint is not None
    assert "portable" in caught.value.hint

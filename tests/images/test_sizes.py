# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from images.errors import SettingInvalid
from images.index import Index
from images.sizes import ChunkSizes, parse_size
from tests.capabilities import require_tool


@pytest.mark.parametrize(
    ("average", "discriminator"),
    [
        (4096, 3075),
        (16384, 12318),
        (65536, 49535),
        (131072, 99777),
        (262144, 202440),
        (524288, 416942),
        (1048576, 886711),
        (2097152, 2030716),
        (4194304, 5721670),
        (8388608, 33554432),
    ],
)
def test_discriminators_are_those_of_casync(average: int, discriminator: int) -> None:
    assert ChunkSizes.of(average).discriminator == discriminator


@pytest.mark.parametrize("average", [9324557, 10 << 20, 12 << 20, 128 << 20])
def test_a_negative_quotient_ends_at_the_maximum(average: int) -> None:
    sizes = ChunkSizes.of(average)
    assert sizes.discriminator == sizes.maximum


def test_the_discriminator_is_kept_within_minimum_and_maximum() -> None:
    assert ChunkSizes(60 << 10, 64 << 10, 256 << 10).discriminator == 60 << 10


def test_averages_that_degenerate_are_told() -> None:
    assert ChunkSizes.of(7574945).degenerate
    assert not ChunkSizes.of(7574944).degenerate
    assert not ChunkSizes(8 << 20, 8 << 20, 8 << 20).degenerate


GOOD = {
    "auto": (16384, 65536, 262144),
    "65536": (16384, 65536, 262144),
    "1M": (262144, 1 << 20, 4 << 20),
    "1.5K": (384, 1536, 6144),
    "1K512B": (384, 1536, 6144),
    "1K:4K:16K": (1024, 4096, 16384),
    "3:3:3": (3, 3, 3),
    "128M": (32 << 20, 128 << 20, 128 << 20),
    "64M": (16 << 20, 64 << 20, 128 << 20),
    "64K:64K:64K": (65536, 65536, 65536),
}

BAD = [
    "", "0", "-1", "64k", "64KB", "x", "1:2", "1:2:3:4", "2:1:3", "1:3:2", "129M", "0:1:2",
    "1:2:129M", "512K1M", "1K1K", "1..5K", "K", ":", "::",
]  # fmt: skip


@pytest.mark.parametrize("text", GOOD)
def test_chunk_size_syntax(text: str) -> None:
    sizes = ChunkSizes.parse(text)
    assert (sizes.minimum, sizes.average, sizes.maximum) == GOOD[text]


@pytest.mark.parametrize("text", BAD)
def test_bad_chunk_sizes_are_refused(text: str) -> None:
    with pytest.raises(SettingInvalid):
        ChunkSizes.parse(text)


@pytest.mark.interop
@pytest.mark.parametrize("text", [*GOOD, *BAD])
def test_casync_agrees_on_what_is_a_chunk_size(tmp_path: Path, text: str) -> None:
    require_tool("casync")
    (tmp_path / "blob").write_bytes(b"12345")
    made = tmp_path / "blob.caibx"
    result = subprocess.run(
        [
            "casync",
            "make",
            f"--chunk-size={text}",
            f"--store={tmp_path}/s",
            made,
            tmp_path / "blob",
        ],
        capture_output=True,
        timeout=60,
    )
    assert (result.returncode == 0) == (text in GOOD)
    if text in GOOD:
        sizes = Index.load(made).sizes
        assert (sizes.minimum, sizes.average, sizes.maximum) == GOOD[text]


def test_sizes_of_files_and_offsets() -> None:
    assert parse_size("10G") == 10 << 30
    assert parse_size("1M 512K") == (1 << 20) + (512 << 10)
    assert parse_size(" 7 ") == 7

# SPDX-License-Identifier: Apache-2.0
"""Which chunks of a file are right, where the file is too short, changed, or has holes."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from images.check import right_chunks, verify
from images.index import Index
from images.inputs import open_input
from images.making import make
from images.sizes import ChunkSizes

CONTENT = (
    random.Random(11).randbytes(100_000) + bytes(200_000) + random.Random(12).randbytes(60_000)
)


@pytest.fixture
def image(tmp_path: Path) -> tuple[Path, Index]:
    path = tmp_path / "image"
    path.write_bytes(CONTENT)
    with open_input(path) as source:
        return path, make(source, sizes=ChunkSizes.of(4096)).index


def test_a_whole_file_is_right(image: tuple[Path, Index]) -> None:
    path, index = image
    assert all(verify(index, path))
    path.write_bytes(CONTENT + b"more")
    assert all(verify(index, path))


@pytest.mark.parametrize("length", [0, 1, 50_000, 250_000, len(CONTENT) - 1])
def test_what_is_behind_the_end_of_a_file_is_wrong(length: int, image: tuple[Path, Index]) -> None:
    path, index = image
    path.write_bytes(CONTENT[:length])
    assert list(verify(index, path)) == [end <= length for _, end, _ in index.chunks()]


def test_zeros_may_be_a_hole(image: tuple[Path, Index]) -> None:
    path, index = image
    with path.open("r+b") as file:
        file.truncate(100_000)
        file.truncate(300_000)
        file.seek(300_000)
        file.write(CONTENT[300_000:])
    assert all(verify(index, path))


@pytest.mark.parametrize("at", [0, 99_999, 150_000, 299_999, 300_000, len(CONTENT) - 1])
def test_one_wrong_byte_makes_one_wrong_chunk(at: int, image: tuple[Path, Index]) -> None:
    path, index = image
    changed = bytearray(CONTENT)
    changed[at] ^= 1
    path.write_bytes(changed)
    right = verify(index, path)
    assert [n for n, good in enumerate(right) if not good] == [index.find(at)]


def test_chunks_are_looked_for_one_after_the_other(image: tuple[Path, Index]) -> None:
    _, index = image
    data = memoryview(CONTENT)[index.start(3) : index.end(7)]
    assert right_chunks(index, 3, 8, data) == b"\1" * 5
    assert right_chunks(index, 3, 8, data[:-1]) == b"\1\1\1\1\0"
    assert right_chunks(index, 4, 9, data) == bytes(5)
    assert right_chunks(index, 3, 8, data[:0]) == bytes(5)

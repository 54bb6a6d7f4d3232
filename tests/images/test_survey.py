# SPDX-License-Identifier: Apache-2.0
"""What a target holds already, where its content was cut otherwise than the image."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from images import runs
from images.digests import Digest
from images.events import ignore
from images.index import Index
from images.inputs import open_input
from images.making import make
from images.runs import FileRegion
from images.sizes import ChunkSizes
from images.survey import Survey, survey

SIZES = ChunkSizes.of(4096)
FRONT = 50_000


def made(path: Path, content: bytes, digest: Digest) -> Index:
    path.write_bytes(content)
    with open_input(path) as source:
        return make(source, sizes=SIZES, digest=digest).index


def surveyed(path: Path, index: Index) -> Survey:
    fd = os.open(path, os.O_RDONLY)
    try:
        return survey(FileRegion(fd, 0, os.fstat(fd).st_size), index, ignore, 2)
    finally:
        os.close(fd)


@pytest.mark.parametrize("digest", Digest)
@pytest.mark.parametrize("zeros", [True, False], ids=["zeros", "constant bytes"])
def test_forced_cuts_behind_an_edit_are_found_right(
    zeros: bool, digest: Digest, tmp_path: Path
) -> None:
    """Both are cut at the maximum only, counted from the last cut before, which an edit moves."""
    generator = random.Random(5)
    rest = (bytes(1) if zeros else b"\xff") * 300_000
    index = made(tmp_path / "image", generator.randbytes(FRONT) + rest, digest)
    behind = [n for n in range(len(index)) if index.start(n) >= FRONT]
    assert len(behind) > 10
    target = bytearray(generator.randbytes(FRONT) + rest)
    (tmp_path / "target").write_bytes(target)
    assert all(surveyed(tmp_path / "target", index).right[n] for n in behind)

    middle = behind[len(behind) // 2]
    for first, stop in (
        (index.start(middle), index.start(middle) + 1),
        (index.end(middle) - 1, index.end(middle)),
        (index.start(middle) + 5, index.end(middle + 3) - 5),
    ):
        changed = target.copy()
        changed[first:stop] = generator.randbytes(stop - first - 1) + b"\x77"
        (tmp_path / "target").write_bytes(changed)
        right = surveyed(tmp_path / "target", index).right
        wrong = range(index.find(first), index.find(stop - 1) + 1)
        assert [n for n in behind if not right[n]] == list(wrong)


@pytest.mark.parametrize("block_length", [runs.BLOCK_LENGTH, 1000, 4096 * 4])
@pytest.mark.parametrize("seed", range(25))
def test_right_is_what_digests_right_where_it_should_stand(
    seed: int, block_length: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chunks are cut, asked for, or ruled out by marks: all as if each had been digested."""
    monkeypatch.setattr(runs, "BLOCK_LENGTH", block_length)
    generator = random.Random(seed)
    parts = [
        generator.choice([generator.randbytes(length), bytes(length), b"ab" * (length // 2)])
        for length in (generator.randrange(40_000) for _ in range(12))
    ]
    index = made(tmp_path / "image", b"".join(parts), Digest.SHA512_256)
    target = bytearray(b"".join(parts))
    for _ in range(generator.randrange(12)):
        at, length = generator.randrange(len(target)), generator.choice([1, 47, 48, 49, 5000])
        new = generator.choice([b"", b"x", bytes(length), generator.randbytes(length)])
        target[at : at + len(new) if generator.random() < 0.7 else at + length] = new
    (tmp_path / "target").write_bytes(target)
    right = [
        Digest.SHA512_256.of(target[start:end]) == chunk_id and end <= len(target)
        for start, end, chunk_id in index.chunks()
    ]
    assert list(map(bool, surveyed(tmp_path / "target", index).right)) == right

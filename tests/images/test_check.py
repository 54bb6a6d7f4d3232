# SPDX-License-Identifier: Apache-2.0
"""Which chunks of a file are right, where the file is too short, changed, or has holes."""

from __future__ import annotations

import errno
import os
import random
from pathlib import Path

import pytest

from images.check import matching_chunks, right_chunks, verify
from images.events import Phase, ignore
from images.index import Index
from images.inputs import open_input
from images.making import make
from images.reading import BLOCK
from images.sizes import ChunkSizes
from tests.capabilities import require_loop_devices
from tests.loops import loop_device

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


@pytest.mark.parametrize("offset", [0, 700])
def test_what_the_page_cache_holds_is_not_believed(
    offset: int, image: tuple[Path, Index], tmp_path: Path
) -> None:
    require_loop_devices()
    _, index = image
    disk = tmp_path / "disk"
    content = (bytes(offset) + CONTENT).ljust(1 << 20, b"\0")
    disk.write_bytes(content)
    with loop_device(disk) as device, device.open("rb", buffering=0) as opened:
        assert opened.read(len(content)) == content  # now it is in the device's cache
        changed = (offset + index.start(5)) // BLOCK * BLOCK
        with disk.open("r+b") as medium:
            medium.seek(changed)
            medium.write(b"changed")
            os.fsync(medium.fileno())
        assert os.pread(opened.fileno(), len(content), 0) == content  # and is still
        right = matching_chunks(opened.fileno(), offset, index, Phase.VERIFY, ignore, 2)
    assert [n for n, good in enumerate(right) if not good] == [index.find(changed - offset)]


@pytest.mark.parametrize("offset", [1, 511, 512, BLOCK - 1, BLOCK + 1, 700_001])
@pytest.mark.parametrize("sector_size", [512, 4096])
def test_an_image_may_begin_anywhere_on_a_device(
    offset: int, sector_size: int, image: tuple[Path, Index], tmp_path: Path
) -> None:
    require_loop_devices()
    _, index = image
    disk = tmp_path / "disk"
    length = -(-(offset + len(CONTENT)) // sector_size) * sector_size  # the last block is cut off
    disk.write_bytes((random.Random(13).randbytes(offset) + CONTENT).ljust(length, b"x"))
    with loop_device(disk, sector_size) as device:
        assert all(verify(index, device, offset=offset))
        with disk.open("r+b") as medium:
            medium.seek(offset + len(CONTENT) - 1)
            medium.write(bytes([CONTENT[-1] ^ 1]))
            os.fsync(medium.fileno())
        right = verify(index, device, offset=offset)
    assert list(right) == [1] * (len(index) - 1) + [0]


def test_a_file_without_direct_reading_is_read_all_the_same(
    image: tuple[Path, Index], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, index = image
    real = os.open

    def refuse(name: str | Path, flags: int, *rest: int) -> int:
        if flags & os.O_DIRECT:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        return real(name, flags, *rest)

    monkeypatch.setattr(os, "open", refuse)
    assert all(verify(index, path))
    path.write_bytes(b"x" + CONTENT[1:])
    assert list(verify(index, path)) == [0] + [1] * (len(index) - 1)

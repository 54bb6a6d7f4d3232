# SPDX-License-Identifier: Apache-2.0
"""Runs of whole chunks: the same bytes and cuts whatever the threads, blocks and source."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from images.runs import FileRegion, Source, Stream, runs
from images.sizes import ChunkSizes
from tests.capabilities import require_tool
from tests.images.native import oracle

DEADLINE_S = 60.0

SMALL = ChunkSizes(64, 256, 1024)


def vector() -> bytes:
    """Return the blob vector: SHA-256 of u64 0, 1, 2 ... as one megabyte."""
    data = b"".join(hashlib.sha256(i.to_bytes(8, "little")).digest() for i in range(31250))
    assert hashlib.sha256(data).hexdigest().startswith("1248ea53851f6898")
    return data


VECTOR_ENDS = [
    *(80921, 138220, 187412, 237372, 296795, 348909, 437333, 483751),
    *(584033, 676269, 776182, 792964, 865744, 907329, 945783, 1000000),
]
"""Where Debian's casync cuts the vector with default sizes."""


@contextmanager
def opened(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_RDONLY)
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def piped(data: bytes, piece: int) -> Iterator[int]:
    """Give the reading end of a pipe that a thread writes `data` to, some bytes at a time."""
    reading, writing = os.pipe()

    def write() -> None:
        with os.fdopen(writing, "wb", buffering=0) as pipe:
            for i in range(0, len(data), piece):
                pipe.write(data[i : i + piece])

    writer = threading.Thread(target=write)
    writer.start()
    try:
        yield reading
    finally:
        os.close(reading)
        writer.join(DEADLINE_S)


def collect(
    source: Source, sizes: ChunkSizes, *, threads: int = 2, block_length: int | None = None
) -> tuple[bytes, list[int]]:
    """Join all chunks, checking that runs and chunks follow each other without a gap."""
    data, ends = bytearray(), list[int]()
    for run in runs(source, sizes, threads=threads, block_length=block_length):
        with run:
            assert run.offset == len(data)
            for (offset, chunk), end in zip(run.chunks(), run.ends, strict=True):
                assert (offset, offset + len(chunk)) == (len(data), end)
                assert not run.zero or not any(chunk)
                data += chunk
            assert run.offset + len(run.data) == run.ends[-1]
            ends += run.ends
    return bytes(data), ends


def mixed(length: int) -> bytes:
    """Return random bytes with runs of zeros and of one repeated word between them."""
    generator = random.Random(length)
    data = bytearray()
    while len(data) < length:
        data += generator.choice(
            [generator.randbytes(700), bytes(generator.randrange(3000)), b"abcdefg" * 50]
        )
    return bytes(data[:length])


def expected(data: bytes, sizes: ChunkSizes) -> list[int]:
    return oracle.cuts(data, sizes.minimum, sizes.average, sizes.maximum, sizes.discriminator)


@pytest.mark.parametrize("threads", [1, 2, 3, 4])
@pytest.mark.parametrize("block_length", [48, 333, 4096, None])
@pytest.mark.parametrize("kind", ["file", "pipe"])
def test_the_cuts_depend_on_the_bytes_alone(
    kind: str, block_length: int | None, threads: int, tmp_path: Path
) -> None:
    data = mixed(20_000)
    path = tmp_path / "blob"
    path.write_bytes(data)
    if kind == "file":
        with opened(path) as fd:
            source: Source = FileRegion(fd, 0, len(data))
            found = collect(source, SMALL, threads=threads, block_length=block_length)
    else:
        with piped(data, 777) as fd:
            found = collect(Stream(fd), SMALL, threads=threads, block_length=block_length)
    assert found == (data, expected(data, SMALL))


@pytest.mark.parametrize("length", [0, 1, 47, 48, 99, 100, 101, 200, 1000])
@pytest.mark.parametrize("kind", ["file", "pipe"])
def test_lengths_around_whole_blocks(kind: str, length: int, tmp_path: Path) -> None:
    data = mixed(length)
    path = tmp_path / "blob"
    path.write_bytes(data)
    if kind == "file":
        with opened(path) as fd:
            found = collect(FileRegion(fd, 0, length), SMALL, block_length=100)
    else:
        with piped(data, 30) as fd:
            found = collect(Stream(fd), SMALL, block_length=100)
    assert found == (data, expected(data, SMALL))


@pytest.mark.parametrize("threads", [1, 3])
def test_fixed_sizes(threads: int, tmp_path: Path) -> None:
    data = mixed(5000)
    path = tmp_path / "blob"
    path.write_bytes(data)
    for length in (7, 512, 1500):
        sizes = ChunkSizes(length, length, length)
        with opened(path) as fd:
            found = collect(FileRegion(fd, 0, 5000), sizes, threads=threads, block_length=1000)
        assert found == (data, [*range(length, 5000, length), 5000])


def test_a_region_inside_a_file_is_cut_as_if_it_were_alone(tmp_path: Path) -> None:
    data = mixed(9000)
    path = tmp_path / "disk"
    path.write_bytes(b"\x5a" * 1234 + data + b"\xa5" * 777)
    with opened(path) as fd:
        found = collect(FileRegion(fd, 1234, 9000), SMALL, block_length=512)
    assert found == (data, expected(data, SMALL))


@pytest.mark.parametrize("threads", [1, 4])
def test_the_blob_vector_is_cut_as_casync_does(threads: int, tmp_path: Path) -> None:
    data = vector()
    path = tmp_path / "v"
    path.write_bytes(data)
    with opened(path) as fd:
        source = FileRegion(fd, 0, len(data))
        assert collect(source, ChunkSizes.of(), threads=threads, block_length=65536) == (
            data,
            VECTOR_ENDS,
        )


@pytest.mark.interop
@pytest.mark.parametrize("chunk_size", ["auto", "4096", "1K:4K:16K", "64:256:1024", "512:512:512"])
def test_debians_casync_cuts_at_the_same_places(chunk_size: str, tmp_path: Path) -> None:
    require_tool("casync")
    data = vector()[:300_000] + bytes(500_000) + mixed(200_000)
    path = tmp_path / "blob"
    path.write_bytes(data)
    subprocess.run(
        ["casync", "make", f"--store={tmp_path / 'store.castr'}", f"--chunk-size={chunk_size}"]
        + [str(tmp_path / "blob.caibx"), str(path)],
        check=True,
        capture_output=True,
        timeout=DEADLINE_S,
    )
    index = (tmp_path / "blob.caibx").read_bytes()
    items = index[64 : len(index) - 40]  # after 48 bytes of head and 16 of table; before the tail
    theirs = [int.from_bytes(items[i : i + 8], "little") for i in range(0, len(items), 40)]
    with opened(path) as fd:
        source = FileRegion(fd, 0, len(data))
        assert collect(source, ChunkSizes.parse(chunk_size))[1] == theirs


def sparse(path: Path, block: int) -> bytes:
    """Write a file of random bytes, a long hole, random bytes and a hole at the end."""
    data = b"\x5a" * (2 * block - 17) + bytes(5 * block) + b"\xa5" * block + bytes(4 * block)
    with path.open("wb") as file:
        file.write(data[: 2 * block - 17])
        file.seek(7 * block - 17)
        file.write(b"\xa5" * block)
        file.truncate(len(data))
    return data


@pytest.mark.parametrize("threads", [1, 3])
def test_holes_are_found_without_reading(
    threads: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    block = 64 << 10
    path = tmp_path / "sparse"
    data = sparse(path, block)
    read = 0
    preadv = os.preadv

    def counting(fd: int, views: list[memoryview], offset: int) -> int:
        nonlocal read
        count = preadv(fd, views, offset)
        read += count
        return count

    monkeypatch.setattr(os, "preadv", counting)
    with opened(path) as fd:
        if os.lseek(fd, 4 * block, os.SEEK_DATA) == 4 * block:
            pytest.skip("missing: a file system with holes under the temporary folder")
        source = FileRegion(fd, 0, len(data))
        found = collect(source, SMALL, threads=threads, block_length=block)
        assert found == (data, expected(data, SMALL))
        assert read < 8 * block
        known = 0
        for run in runs(source, SMALL, threads=threads, block_length=block):
            with run:
                known += run.zero
    assert known >= 3


def test_a_hole_after_other_bytes_of_the_same_chunk_is_not_all_zeros(tmp_path: Path) -> None:
    data = vector()[:100_000] + bytes(1 << 20)  # cut at 80921, and far behind in the hole
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.write(data[:100_000])
        file.truncate(len(data))
    with opened(path) as fd:
        source = FileRegion(fd, 0, len(data))
        found, ends = collect(source, ChunkSizes.of(), block_length=64 << 10)
    assert found == data
    assert ends[:2] == [80921, 80921 + (256 << 10)]


def test_a_hole_beyond_the_region_does_not_belong_to_it(tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.truncate(1 << 20)
    with opened(path) as fd:
        found, ends = collect(FileRegion(fd, 4096, 300_000), SMALL, block_length=1 << 16)
    assert found == bytes(300_000)
    assert ends == [*range(1024, 300_000, 1024), 300_000]


def test_a_file_that_became_shorter_is_an_io_error(tmp_path: Path) -> None:
    path = tmp_path / "blob"
    path.write_bytes(mixed(5000))
    with opened(path) as fd, pytest.raises(OSError, match="the file ends at 5000") as caught:
        collect(FileRegion(fd, 0, 6000), SMALL, block_length=512)
    assert caught.value.errno == errno.EIO


def test_a_hole_is_not_seen_behind_the_end_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "blob"
    with path.open("wb") as file:
        file.truncate(1 << 20)
    with opened(path) as fd, pytest.raises(OSError, match="the file ends at") as caught:
        collect(FileRegion(fd, 0, 8 << 20), SMALL, block_length=1 << 18)
    assert caught.value.errno == errno.EIO


def test_an_error_of_the_source_reaches_the_consumer(tmp_path: Path) -> None:
    with opened(tmp_path) as fd, pytest.raises(IsADirectoryError):
        collect(FileRegion(fd, 0, 4096), SMALL)
    with opened(tmp_path) as fd, pytest.raises(IsADirectoryError):
        collect(Stream(fd), SMALL, threads=4, block_length=100)


def test_bytes_stay_until_they_are_released(tmp_path: Path) -> None:
    data = mixed(50_000)
    path = tmp_path / "blob"
    path.write_bytes(data)
    with opened(path) as fd:
        held = []
        copy = bytearray()
        for run in runs(FileRegion(fd, 0, len(data)), SMALL, threads=2, block_length=2000):
            held.append(run)
            if len(held) == 4:  # all the buffers of two threads
                for kept in held:
                    copy += kept.data
                    kept.release()
                held.clear()
        for kept in held:
            copy += kept.data
            kept.release()
            kept.release()
    assert copy == data


def test_the_generator_waits_for_another_thread_to_release(tmp_path: Path) -> None:
    data = mixed(30_000)
    path = tmp_path / "blob"
    path.write_bytes(data)
    with opened(path) as fd:
        reader = runs(FileRegion(fd, 0, len(data)), SMALL, threads=1, block_length=3000)
        held = [next(reader) for _ in range(3)]
        taken: list[int] = []
        thread = threading.Thread(target=lambda: taken.append(next(reader).offset))
        thread.start()
        assert taken == []
        end = held[-1].ends[-1]
        held[0].release()
        thread.join(DEADLINE_S)
        assert taken == [end]
        reader.close()


def test_released_bytes_cannot_be_read_by_mistake(tmp_path: Path) -> None:
    path = tmp_path / "blob"
    path.write_bytes(mixed(3000))
    with opened(path) as fd:
        for run in runs(FileRegion(fd, 0, 3000), SMALL, threads=1):
            assert run.data.readonly
            run.release()
            with pytest.raises(ValueError, match="released"):
                bytes(run.data)


def test_a_consumer_that_stops_early_does_not_wait_for_a_silent_pipe() -> None:
    reading, writing = os.pipe()
    try:
        os.write(writing, mixed(6_000))  # a block and a half
        reader = runs(Stream(reading), SMALL, threads=3, block_length=4096)
        with next(reader) as run:
            assert run.offset == 0
        reader.close()
    finally:
        os.close(reading)
        os.close(writing)

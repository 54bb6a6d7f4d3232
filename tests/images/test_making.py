# SPDX-License-Identifier: Apache-2.0
"""Making an index, and the digest of the whole that is computed beside it."""

from __future__ import annotations

import errno
import hashlib
import os
import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from images import making
from images.digests import Buffer, ChunkId, Digest
from images.errors import DeviceFault, NoSpace, NotAccessible
from images.events import Event, Progress
from images.inputs import Input, open_input
from images.making import make
from images.runs import FileRegion
from images.sizes import ChunkSizes
from images.stores.writing import Stored

KIB = 1 << 10
SIZES = ChunkSizes.of(4 * KIB)
BLOCK, AHEAD = 64 * KIB, 128 * KIB


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(making, "_BLOCK", BLOCK)
    monkeypatch.setattr(making, "AHEAD", AHEAD)


def image(path: Path) -> bytes:
    """Write noise, a hole, noise, and a hole at the end; the length is odd. Return all of it."""
    noise = random.Random(5).randbytes(12 << 20)
    with path.open("wb") as file:
        file.write(noise[: 8 << 20])
        file.seek(3 << 20, os.SEEK_CUR)
        file.write(noise[8 << 20 :])
        file.truncate((17 << 20) + 4321)
    return path.read_bytes()


class Counting:
    """A writer that only counts what it is given, or fails.

    Attributes:
        puts: of each chunk.
    """

    def __init__(self, fails: bool = False) -> None:
        self.puts: dict[ChunkId, int] = {}
        self._fails = fails
        self._lock = threading.Lock()

    def put(self, chunk_id: ChunkId, data: Buffer) -> Stored:
        if self._fails:
            raise NoSpace("simulated")
        with self._lock:
            self.puts[chunk_id] = self.puts.get(chunk_id, 0) + 1
            return Stored(self.puts[chunk_id] == 1, len(data))


class Watched(FileRegion):
    """A region that tells a function of each offset that the digest of the whole reads."""

    def watch(self, reading: Callable[[int], None]) -> Input:
        object.__setattr__(self, "reading", reading)
        return Input(self, self.length, 0o644)

    def fill(self, offset: int, view: memoryview) -> int:
        """See `FileRegion`."""
        if threading.current_thread().name.startswith("whole"):
            self.reading(offset)  # type: ignore[attr-defined]
        return super().fill(offset, view)


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    length = len(image(tmp_path / "image"))
    fd = os.open(tmp_path / "image", os.O_RDONLY)
    yield Watched(fd, 0, length)
    os.close(fd)


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("digest", list(Digest))
def test_the_whole_is_digested_with_holes_and_any_number_of_threads(
    threads: int, digest: Digest, tmp_path: Path
) -> None:
    data = image(tmp_path / "image")
    with open_input(tmp_path / "image") as source:
        made = make(source, sizes=SIZES, digest=digest, threads=threads)
    name = {Digest.SHA512_256: "sha512_256", Digest.SHA256: "sha256"}[digest]
    assert made.digest == hashlib.new(name, data).digest()
    for start, end, chunk_id in made.index.chunks():
        assert chunk_id == digest.of(data[start:end])


def test_a_region_is_digested_from_its_first_byte_to_its_last(tmp_path: Path) -> None:
    data = image(tmp_path / "image")
    start, length = 12345, 9 << 20
    with open_input(tmp_path / "image", start, length) as source:
        made = make(source, sizes=SIZES, threads=2)
    assert made.digest == Digest.SHA512_256.of(data[start : start + length])


def test_a_pipe_is_digested_on_the_way(tmp_path: Path) -> None:
    data = image(tmp_path / "image")
    os.mkfifo(tmp_path / "pipe")
    feeder = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=(data,))
    feeder.start()
    with open_input(tmp_path / "pipe") as source:
        made = make(source, sizes=SIZES, threads=2)
    feeder.join(30)
    assert made.digest == Digest.SHA512_256.of(data)


def test_zeros_are_put_once_in_a_row(tmp_path: Path) -> None:
    (tmp_path / "image").write_bytes(b"")
    os.truncate(tmp_path / "image", 16 << 20)
    writer = Counting()
    with open_input(tmp_path / "image") as source:
        made = make(source, sizes=SIZES, writer=writer, threads=2)
    assert len(made.index) == 1024
    assert (made.new_chunks, made.stored_length) == (1, 16 * KIB)
    assert sum(writer.puts.values()) < 64


def test_the_digest_is_ahead_of_the_chunks_but_not_too_far(watched: Watched) -> None:
    chunked = [0]
    leads: list[int] = []

    def sink(event: Event) -> None:
        if isinstance(event, Progress):
            chunked[0] = event.done

    make(
        watched.watch(lambda offset: leads.append(offset - chunked[0])),
        sizes=SIZES,
        sink=sink,
        threads=2,
    )
    assert 0 < max(leads) <= AHEAD


def test_what_only_the_digest_cannot_read_is_an_error(watched: Watched) -> None:
    def reading(offset: int) -> None:
        if offset == BLOCK:
            raise OSError(errno.EIO, "simulated")

    with pytest.raises(DeviceFault, match="simulated"):
        make(watched.watch(reading), sizes=SIZES, threads=2)


def test_a_digest_that_waits_for_the_chunks_ends_when_they_fail(watched: Watched) -> None:
    before = threading.active_count()
    with pytest.raises(NoSpace, match="simulated"):
        make(
            watched.watch(lambda offset: None), sizes=SIZES, writer=Counting(fails=True), threads=2
        )
    assert threading.active_count() == before


def test_an_input_that_is_written_to_meanwhile_is_an_error(tmp_path: Path) -> None:
    image(tmp_path / "image")

    def sink(event: Event) -> None:
        with (tmp_path / "image").open("r+b") as file:
            file.write(b"changed")

    with (
        open_input(tmp_path / "image") as source,
        pytest.raises(NotAccessible, match="written to while it was read"),
    ):
        make(source, sizes=SIZES, sink=sink, threads=2)

# SPDX-License-Identifier: Apache-2.0
"""Blocks that a medium has lost.

The medium is a mock here: `preadv` and `pwrite` of one file, with blocks that cannot be read until
they are written whole. tests/updater/faults and tests/vm/test_device_mapper.py meet real ones.
"""

from __future__ import annotations

import errno
import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

import pytest

from images import reading, runs
from images.errors import DeviceFault
from images.events import Event, SourceFailed
from images.extraction import extract, plan
from images.inputs import open_input
from images.making import make
from images.parallel import Scratch
from images.reading import BLOCK, MOST_LOST, LostBlocks, past_cache, read_into, read_medium
from images.sizes import WINDOW
from images.sources import Source
from images.specs import SeedSpec, TargetSpec
from images.stores.chain import Chain
from images.stores.local import LocalStore
from tests.waiting import wait_until

LENGTH = 1 << 20


class Medium:
    """A file some blocks of which cannot be read."""

    def __init__(self, path: Path, lost: set[int], monkeypatch: pytest.MonkeyPatch) -> None:
        self._inode, self.lost, self.heals = path.stat().st_ino, lost, True
        self._read, self._write = os.preadv, os.pwrite
        monkeypatch.setattr(os, "preadv", self.preadv)
        monkeypatch.setattr(os, "pwrite", self.pwrite)

    def preadv(self, fd: int, views: list[memoryview], offset: int) -> int:
        (view,) = views
        if os.fstat(fd).st_ino == self._inode:
            stop = min(self._touched(offset, len(view)), default=offset + len(view))
            if stop <= offset:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            view = view[: stop - offset]
        return self._read(fd, [view], offset)

    def pwrite(self, fd: int, view: memoryview, offset: int) -> int:
        if os.fstat(fd).st_ino == self._inode:
            for start in self._touched(offset, len(view)):
                # Of a block that is written in part, the kernel reads the rest.
                if not self.heals or offset > start or offset + len(view) < start + BLOCK:
                    raise OSError(errno.EIO, os.strerror(errno.EIO))
                self.lost.remove(start)
        return self._write(fd, view, offset)

    def _touched(self, offset: int, length: int) -> list[int]:
        return [start for start in self.lost if start < offset + length and offset < start + BLOCK]


@contextmanager
def opened(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_RDONLY)
    try:
        yield fd
    finally:
        os.close(fd)


@pytest.mark.parametrize("offset", [0, 100, BLOCK + 1])
def test_what_is_lost_reads_as_bytes_of_no_image_and_the_rest_as_it_is(
    offset: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, data = tmp_path / "file", random.Random(1).randbytes(LENGTH)
    path.write_bytes(data)
    Medium(path, {2 * BLOCK, 3 * BLOCK, 9 * BLOCK}, monkeypatch)
    buffer, lost = bytearray(LENGTH), LostBlocks()
    with opened(path) as fd:
        assert read_into(fd, offset, buffer, 9 * BLOCK + 7 - offset, lost) == 9 * BLOCK + 7 - offset
        with pytest.raises(OSError, match="Input/output") as failure:
            read_into(fd, offset, bytearray(LENGTH), LENGTH)
    assert failure.value.errno == errno.EIO
    assert lost.starts == {2 * BLOCK, 3 * BLOCK, 9 * BLOCK}
    read = bytes(offset) + buffer
    assert read[offset : 2 * BLOCK] == data[offset : 2 * BLOCK]
    assert read[4 * BLOCK : 9 * BLOCK] == data[4 * BLOCK : 9 * BLOCK]
    for start in lost.starts - {9 * BLOCK}:
        assert read[start : start + BLOCK] != data[start : start + BLOCK]
        assert read[start : start + BLOCK] != bytes(BLOCK)
    assert [lost.within(at, at + 1) for at in (2 * BLOCK - 1, 2 * BLOCK, 4 * BLOCK - 1)] == [
        False,
        True,
        True,
    ]
    assert not lost.within(4 * BLOCK, 9 * BLOCK)


def test_what_direct_reading_will_not_give_is_forgotten_first_and_comes_through_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forgotten: list[tuple[int, int]] = []
    monkeypatch.setattr(
        os, "posix_fadvise", lambda fd, offset, length, advice: forgotten.append((offset, length))
    )
    path, data = tmp_path / "file", random.Random(3).randbytes(10 * BLOCK + 5)
    path.write_bytes(data)
    memory = Scratch(12 * BLOCK).take(12 * BLOCK)
    with opened(path) as fd, past_cache(fd) as direct:
        assert direct is not None
        # To the end, which lies within a block; from the begin of one; into memory that begins
        # elsewhere, which the kernel refuses.
        whole = 10 * BLOCK
        for offset, view, rest in (
            (0, memory[:whole], None),
            (0, memory, (len(data), len(memory) - len(data))),
            (3 * BLOCK, memory, (len(data), 3 * BLOCK + len(memory) - len(data))),
            (0, memory[1 : 1 + BLOCK], (0, BLOCK)),
        ):
            forgotten.clear()
            count = read_medium(direct, fd, offset, view)
            assert count == min(len(view), len(data) - offset)
            assert view[:count] == data[offset : offset + count]
            assert forgotten == ([] if rest is None else [rest])
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(direct)


def test_without_direct_reading_flushed_bytes_are_not_read_from_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read that must not wait for the medium finds the bytes in the page cache, or fails."""
    path, data = tmp_path / "file", random.Random(4).randbytes(10 * BLOCK)
    path.write_bytes(data)

    def is_cached(fd: int) -> bool:
        try:
            return os.preadv(fd, [bytearray(BLOCK)], 0, os.RWF_NOWAIT) == BLOCK
        except BlockingIOError:
            return False

    with opened(path) as fd:
        try:
            assert is_cached(fd)
        except OSError as error:
            pytest.skip(f"missing: a file system with RWF_NOWAIT ({error.strerror})")
        os.fsync(fd)
        found = []

        def read(fd: int, offset: int, view: memoryview, length: int) -> int:
            found.append(is_cached(fd))
            return read_into(fd, offset, view, length)

        monkeypatch.setattr(reading, "read_into", read)
        view = memoryview(bytearray(len(data)))

        def read_anew() -> bool:
            # Again where the kernel happens to hold a page, to compact memory say.
            assert read_medium(None, fd, 0, view) == len(data)
            return not found[-1]

        wait_until(read_anew)
        assert view == data


def test_a_medium_that_has_lost_much_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(LENGTH))
    Medium(path, {n * BLOCK for n in range(MOST_LOST + 1)}, monkeypatch)
    lost = LostBlocks()
    with opened(path) as fd:
        read_into(fd, 0, bytearray(LENGTH), MOST_LOST * BLOCK, lost)
        with pytest.raises(OSError, match=f"more than {MOST_LOST} blocks"):
            read_into(fd, 0, bytearray(LENGTH), LENGTH, lost)


class Slot:
    """An image, its store, and a slot between two others that holds what it should, partly lost."""

    def __init__(self, folder: Path, offset: int) -> None:
        noise = random.Random(2).randbytes(LENGTH)
        self.data = noise[: LENGTH // 2] + bytes(LENGTH // 4) + noise[LENGTH // 2 :]
        image = folder / "image"
        image.write_bytes(self.data)
        self.store = LocalStore(folder / "store.castr")
        with self.store.writer() as writer, open_input(image) as source:
            self.index = make(source, writer=writer).index
        self.offset, self.path = offset, folder / "disk"
        self.spec = TargetSpec(self.path, offset, len(self.data))
        self.path.write_bytes(b"\xee" * offset + self.data + b"\xee" * 5000)
        self.events: list[Event] = []

    def __enter__(self) -> Slot:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        there = self.path.read_bytes()
        assert there[: self.offset] == b"\xee" * self.offset
        assert there[self.offset + len(self.data) :] == b"\xee" * 5000

    def extract(self) -> None:
        stores = Chain([self.store])
        extract(self.index, self.spec, seeds=[], stores=stores, sink=self.events.append)


@pytest.mark.parametrize("lost", ["first", "edge", "inner", "zeros", "last"])
def test_blocks_that_writing_heals_are_written_and_nothing_around_them(
    lost: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Slot(tmp_path, 2 * BLOCK) as slot:
        border = slot.index.end(0) // BLOCK * BLOCK
        assert border < slot.index.end(0)
        at = {
            "first": 0,
            "edge": border,  # of two chunks: neither writes it whole
            "inner": border + 2 * BLOCK,
            "zeros": LENGTH // 2 + 20 * BLOCK,
            "last": len(slot.data) - BLOCK,
        }[lost]
        medium = Medium(slot.path, {slot.offset + at}, monkeypatch)
        made = plan(slot.index, slot.spec, seeds=[], stores=Chain([slot.store]))
        assert medium.lost
        assert 0 < made.bytes_to_write < LENGTH
        slot.extract()
        assert not medium.lost
        (warning,) = (event for event in slot.events if isinstance(event, SourceFailed))
        assert (
            f"1 block of 4096 bytes cannot be read, the first at {slot.offset + at};"
            in warning.message
        )
        assert slot.path.read_bytes()[slot.offset :][: len(slot.data)] == slot.data


def test_what_was_read_of_a_block_before_it_was_lost_does_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A read over many blocks fails as a whole, at the 48 bytes that the one before had as well."""
    monkeypatch.setattr(runs, "BLOCK_LENGTH", LENGTH // 4)
    real, failed = os.preadv, list[int]()
    with Slot(tmp_path, 2 * BLOCK) as slot:

        def preadv(fd: int, views: list[memoryview], offset: int) -> int:
            if offset == slot.offset + LENGTH // 4 - WINDOW and not failed:
                failed.append(offset)
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return real(fd, views, offset)

        monkeypatch.setattr(os, "preadv", preadv)
        slot.extract()
        assert failed
        assert slot.path.read_bytes()[slot.offset :][: len(slot.data)] == slot.data


def test_a_block_that_does_not_heal_is_the_mediums_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Slot(tmp_path, 0) as slot:
        medium = Medium(slot.path, {30 * BLOCK}, monkeypatch)
        medium.heals = False
        with pytest.raises(DeviceFault):
            slot.extract()
        medium.lost.clear()


def test_a_block_that_is_shared_with_a_neighbouring_slot_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Slot(tmp_path, 2 * BLOCK + 512) as slot:
        medium = Medium(slot.path, {2 * BLOCK}, monkeypatch)
        with pytest.raises(DeviceFault):
            slot.extract()
        medium.lost.clear()


@pytest.mark.parametrize(("at", "lost"), [(LENGTH, 1), (30 * LENGTH, MOST_LOST + 1)])
def test_what_a_seed_has_lost_comes_from_the_store_and_the_rest_from_the_seed(
    at: int, lost: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Slot(tmp_path, 0) as slot:
        slot.path.write_bytes(bytes(len(slot.data)) + b"\xee" * 5000)
        seed = tmp_path / "seed"
        seed.write_bytes(slot.data + random.Random(3).randbytes(32 * LENGTH))
        Medium(seed, {at + n * BLOCK for n in range(lost)}, monkeypatch)
        stores = Chain([slot.store])
        made, report = extract(slot.index, slot.spec, seeds=[SeedSpec(seed)], stores=stores)
        assert slot.path.read_bytes()[: len(slot.data)] == slot.data
        assert made.shares[Source.SEED] == report.shares[Source.SEED]
        # What was lost, and the last chunk, which the seed goes on behind.
        assert report.shares[Source.STORE].bytes <= 3 * 262144
        assert report.shares[Source.SEED].bytes > LENGTH // 2

# SPDX-License-Identifier: Apache-2.0
"""Flushing in the background: when it begins, who waits, and where a failure shows."""

from __future__ import annotations

import errno
import os
import threading
from pathlib import Path

import pytest

from images.errors import DeviceFault
from images.flushing import Flusher
from images.specs import TargetSpec
from images.target import open_target

DEADLINE_S = 30.0


class SlowMedium:
    """Stands in for fdatasync: holds each call until it is let go."""

    def __init__(self) -> None:
        self.calls = 0
        self.begun = threading.Semaphore(0)
        self.let_go = threading.Semaphore(0)
        self.error: OSError | None = None

    def __call__(self, fd: int) -> None:
        self.calls += 1
        self.begun.release()
        assert self.let_go.acquire(timeout=DEADLINE_S)
        if self.error is not None:
            raise self.error


@pytest.fixture
def medium(monkeypatch: pytest.MonkeyPatch) -> SlowMedium:
    medium = SlowMedium()
    monkeypatch.setattr(os, "fdatasync", medium)
    return medium


def test_a_flush_begins_after_the_interval_and_nobody_waits(medium: SlowMedium) -> None:
    flusher = Flusher(0, 100)
    flusher.wrote(99)
    assert medium.calls == 0
    flusher.wrote(1)
    assert medium.begun.acquire(timeout=DEADLINE_S)
    flusher.wrote(99)
    assert medium.calls == 1
    medium.let_go.release()
    flusher.wait()


def test_who_is_faster_than_the_medium_waits_for_it(medium: SlowMedium) -> None:
    flusher = Flusher(0, 100)
    flusher.wrote(100)
    assert medium.begun.acquire(timeout=DEADLINE_S)
    ahead = threading.Thread(target=flusher.wrote, args=(100,))
    ahead.start()
    assert not medium.begun.acquire(timeout=0.05)
    assert ahead.is_alive()
    medium.let_go.release(2)
    ahead.join(DEADLINE_S)
    assert medium.begun.acquire(timeout=DEADLINE_S)
    flusher.wait()
    assert medium.calls == 2


def test_a_failure_is_raised_by_all_that_follows(medium: SlowMedium) -> None:
    flusher = Flusher(0, 100)
    medium.error = OSError(errno.EIO, "simulated")
    medium.let_go.release()
    flusher.wrote(100)
    for _ in range(2):
        with pytest.raises(OSError, match="simulated"):
            flusher.wait()
    with pytest.raises(OSError, match="simulated"):
        flusher.wrote(100)
    assert medium.calls == 1


def test_a_target_that_failed_in_the_background_does_not_settle(
    tmp_path: Path, medium: SlowMedium, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("images.target.Flusher", lambda fd: Flusher(fd, 4096))
    medium.error = OSError(errno.EIO, "simulated")
    medium.let_go.release(10)
    spec = TargetSpec(tmp_path / "image")
    with pytest.raises(DeviceFault, match="simulated"), open_target(spec, 4096) as target:
        target.put(0, memoryview(b"x" * 4096))
        target.settle(4096)
    assert not spec.path.exists()


def test_zeros_count_as_written(
    tmp_path: Path, medium: SlowMedium, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("images.target.Flusher", lambda fd: Flusher(fd, 4096))
    (tmp_path / "image").write_bytes(b"x" * 8192)
    medium.let_go.release(10)
    spec = TargetSpec(tmp_path / "image", in_place=True)
    with open_target(spec, 8192) as target:
        target.put_zeros(0, 8192)
        target.settle(8192)
    assert medium.calls >= 1

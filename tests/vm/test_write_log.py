# SPDX-License-Identifier: Apache-2.0
"""The log of writes that QEMU makes, and what real file systems hold after a crash."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path

import pytest

from tests.capabilities import require_root, require_tool
from tests.loops import mounted, run
from tests.vm.state_crashes import crashes
from tests.vm.volatile_disk import Tear
from tests.vm.write_log import SECTOR, Entry, Flag, count_entries, crash, logged, read_entries

LENGTH = 1 << 20
CRASHES = 150


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "image"
    path.write_bytes(bytes(LENGTH))
    return path


@pytest.mark.root
def test_each_write_and_flush_is_read_back_and_replayed_to_the_byte(
    image: Path, tmp_path: Path
) -> None:
    before = tmp_path / "before"
    shutil.copyfile(image, before)
    random_bytes = random.Random(1).randbytes(3 * SECTOR)
    with logged(image, tmp_path) as (export, log), export.open("r+b", buffering=0) as disk:
        os.pwrite(disk.fileno(), b"A" * SECTOR, 0)
        os.fsync(disk.fileno())
        os.pwrite(disk.fileno(), random_bytes, 2 * SECTOR)
        os.fsync(disk.fileno())
        assert count_entries(log) == 4
        entries = read_entries(log)
    assert entries == [
        Entry(0, SECTOR, Flag(0), b"A" * SECTOR),
        Entry(0, 0, Flag.FLUSH, b""),
        Entry(2 * SECTOR, 3 * SECTOR, Flag(0), random_bytes),
        Entry(0, 0, Flag.FLUSH, b""),
    ]
    for count, content in ((4, image.read_bytes()), (3, b"A" * SECTOR + bytes(LENGTH - SECTOR))):
        copy = tmp_path / f"after-{count}"
        shutil.copyfile(before, copy)
        crash(copy, entries[:count], Tear.WHOLE, 0.0, random.Random(0))
        assert copy.read_bytes() == content


def test_what_is_no_log_is_refused(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(bytes(SECTOR))
    with pytest.raises(ValueError, match="is not a log of writes"):
        read_entries(log)


@pytest.mark.root
def test_a_log_that_was_cut_is_refused(image: Path, tmp_path: Path) -> None:
    with logged(image, tmp_path) as (export, log), export.open("r+b", buffering=0) as disk:
        os.pwrite(disk.fileno(), b"A" * SECTOR, 0)
        os.fsync(disk.fileno())
    os.truncate(log, 2 * SECTOR)
    with pytest.raises(ValueError, match="in the middle of an entry"):
        read_entries(log)
    os.truncate(log, SECTOR)
    with pytest.raises(ValueError, match="in the middle of an entry"):
        read_entries(log)


@pytest.mark.root
@pytest.mark.parametrize("seed", [1, 2])
def test_after_a_crash_state_and_environment_are_readable_and_at_most_one_step_old(
    seed: int,
) -> None:
    require_root()
    assert crashes(CRASHES, seed) > 0


@pytest.mark.root
@pytest.mark.parametrize(
    ("feature", "mounts"), [("metadata_csum", False), ("^metadata_csum", True)]
)
def test_a_torn_superblock_is_taken_only_where_it_has_no_checksum(
    feature: str, mounts: bool, tmp_path: Path
) -> None:
    # Why docs/architecture.md says how to make the file system of the state.
    require_tool("mkfs.ext4")
    image, torn, half = tmp_path / "image", tmp_path / "torn", 1024 + SECTOR
    with image.open("wb") as file:
        file.truncate(8 << 20)
    run("mkfs.ext4", "-q", "-O", feature, image)
    before = image.read_bytes()
    with mounted(image, tmp_path / "mnt"):
        written = image.read_bytes()
    assert written[1024:half] != before[1024:half]
    torn.write_bytes(written[:half] + before[half:2048] + written[2048:])
    if mounts:
        with mounted(torn, tmp_path / "mnt"):
            pass
    else:
        with pytest.raises(AssertionError, match="cannot mount"), mounted(torn, tmp_path / "mnt"):
            pass

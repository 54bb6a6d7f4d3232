# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from images.errors import NoSpace, NotAccessible, TargetBusy, TargetTooSmall
from images.reading import BLOCK
from images.specs import TargetSpec
from images.target import Target, open_for_plan, open_target
from tests.capabilities import require_loop_devices, require_tool
from tests.loops import loop_device, mounted, run

DATA = random.Random(1).randbytes(10 * BLOCK)


@pytest.fixture(params=[512, 4096])
def device(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    require_loop_devices()
    (tmp_path / "disk").write_bytes(DATA)
    with loop_device(tmp_path / "disk", request.param) as path:
        yield path


def _put(target: Target, position: int, data: bytes) -> None:
    target.put(position, memoryview(data))


def test_a_new_file_appears_only_when_it_is_whole(tmp_path: Path) -> None:
    spec = TargetSpec(tmp_path / "image")
    with open_target(spec, len(DATA)) as target:
        _put(target, 0, DATA)
        assert not spec.path.exists()
        target.settle(len(DATA))
    assert spec.path.read_bytes() == DATA
    assert spec.path.stat().st_mode & 0o777 == 0o644
    assert [p.name for p in tmp_path.iterdir()] == ["image"]


def test_a_failed_run_leaves_the_old_file_and_what_the_next_run_can_use(tmp_path: Path) -> None:
    spec = TargetSpec(tmp_path / "image")
    spec.path.write_bytes(b"old")
    with pytest.raises(RuntimeError), open_target(spec, len(DATA)) as target:
        _put(target, 0, DATA[:BLOCK])
        raise RuntimeError
    assert spec.path.read_bytes() == b"old"
    with open_target(spec, len(DATA)) as target:
        _put(target, 0, DATA)
        assert target.written == len(DATA) - BLOCK
        target.settle(len(DATA))
    assert spec.path.read_bytes() == DATA


def test_a_replaced_file_keeps_its_mode(tmp_path: Path) -> None:
    spec = TargetSpec(tmp_path / "image")
    spec.path.write_bytes(b"old")
    spec.path.chmod(0o600)
    with open_target(spec, 3) as target:
        _put(target, 0, b"new")
        target.settle(3)
    assert spec.path.stat().st_mode & 0o777 == 0o600


def test_in_place_cuts_what_a_longer_file_had_behind(tmp_path: Path) -> None:
    spec = TargetSpec(tmp_path / "image", in_place=True)
    spec.path.write_bytes(DATA)
    inode = spec.path.stat().st_ino
    with open_target(spec, BLOCK) as target:
        target.settle(BLOCK)
    assert spec.path.read_bytes() == DATA[:BLOCK]
    assert spec.path.stat().st_ino == inode


@pytest.mark.parametrize("start", [0, 1, 100, BLOCK - 1, BLOCK, BLOCK + 7])
def test_only_blocks_that_differ_are_written(tmp_path: Path, start: int) -> None:
    spec = TargetSpec(tmp_path / "image", in_place=True)
    spec.path.write_bytes(DATA)
    changed = bytearray(DATA)
    changed[3 * BLOCK + 5] ^= 1
    changed[4 * BLOCK] ^= 1
    changed[7 * BLOCK - 1] ^= 1
    with open_target(spec, len(DATA)) as target:
        _put(target, start, bytes(changed[start:]))
        assert target.written == 3 * BLOCK
        _put(target, start, bytes(changed[start:]))
        assert target.written == 3 * BLOCK
    assert spec.path.read_bytes() == changed


def test_data_past_the_end_of_a_file_is_written(tmp_path: Path) -> None:
    spec = TargetSpec(tmp_path / "image", in_place=True)
    spec.path.write_bytes(DATA[: BLOCK + 3])
    with open_target(spec, len(DATA)) as target:
        _put(target, 10, DATA[10:])
        assert target.written == len(DATA) - BLOCK - 3
        target.settle(len(DATA))
    assert spec.path.read_bytes() == DATA


@pytest.mark.parametrize("punch_holes", [True, False])
@pytest.mark.parametrize(("start", "length"), [(0, 8 * BLOCK), (5, 6 * BLOCK), (5, 100)])
def test_zeros_are_holes_where_they_may_be(
    tmp_path: Path, start: int, length: int, punch_holes: bool
) -> None:
    spec = TargetSpec(tmp_path / "image", in_place=True)
    spec.path.write_bytes(DATA)
    before = spec.path.stat().st_blocks
    with open_target(spec, len(DATA), punch_holes=punch_holes) as target:
        target.put_zeros(start, length)
        target.settle(len(DATA))
    expected = bytearray(DATA)
    expected[start : start + length] = bytes(length)
    assert spec.path.read_bytes() == expected
    freed = (before - spec.path.stat().st_blocks) * 512
    whole_blocks = ((start + length) // BLOCK - -(-start // BLOCK)) * BLOCK
    assert freed == (max(0, whole_blocks) if punch_holes else 0)


def test_zeros_past_the_end_come_with_the_length(tmp_path: Path) -> None:
    spec = TargetSpec(tmp_path / "image")
    with open_target(spec, 9 * BLOCK + 1) as target:
        target.put_zeros(7, 9 * BLOCK - 6)
        target.settle(9 * BLOCK + 1)
    assert spec.path.read_bytes() == bytes(9 * BLOCK + 1)


def test_a_region_is_written_and_nothing_around_it(tmp_path: Path) -> None:
    (tmp_path / "disk").write_bytes(DATA)
    spec = TargetSpec(tmp_path / "disk", offset=BLOCK + 512, length=2 * BLOCK)
    with open_target(spec, 5000) as target:
        _put(target, 0, bytes(5000))
        target.settle(5000)
    expected = bytearray(DATA)
    expected[BLOCK + 512 : BLOCK + 512 + 5000] = bytes(5000)
    assert (tmp_path / "disk").read_bytes() == expected


@pytest.mark.parametrize(
    ("offset", "length", "image"),
    [(0, 100, 101), (9 * BLOCK, None, BLOCK + 1), (0, 11 * BLOCK, 1), (99 * BLOCK, None, 1)],
)
@pytest.mark.parametrize("opener", [open_target, open_for_plan])
def test_an_image_that_does_not_fit_a_region_is_refused_before_a_write(
    tmp_path: Path, opener: object, offset: int, length: int | None, image: int
) -> None:
    (tmp_path / "disk").write_bytes(DATA)
    spec = TargetSpec(tmp_path / "disk", offset, length)
    opening = open_target(spec, image) if opener is open_target else open_for_plan(spec, image)
    with pytest.raises(TargetTooSmall), opening:
        pass
    assert (tmp_path / "disk").read_bytes() == DATA


def test_two_writers_of_one_file_are_kept_apart(tmp_path: Path) -> None:
    spec = TargetSpec(tmp_path / "image")
    with open_target(spec, 1), pytest.raises(TargetBusy), open_target(spec, 1):
        pass


@pytest.mark.parametrize("path", [Path("/dev/null"), Path("/tmp"), Path("/no/such/folder/image")])
def test_what_is_no_target_is_refused(path: Path) -> None:
    with pytest.raises(NotAccessible), open_target(TargetSpec(path), 1):
        pass


def test_a_plan_against_a_file_that_does_not_exist_sees_nothing(tmp_path: Path) -> None:
    with open_for_plan(TargetSpec(tmp_path / "image"), 10) as target:
        assert target.read(0, bytearray(10), 10) == 0
    assert not list(tmp_path.iterdir())


@pytest.mark.root
def test_a_device_is_written_where_it_differs(device: Path) -> None:
    changed = bytearray(DATA)
    changed[5 * BLOCK + 1] ^= 1
    with open_target(TargetSpec(device), len(DATA)) as target:
        _put(target, 100, bytes(changed[100:]))
        assert target.written == BLOCK
        target.put_zeros(50, 2 * BLOCK)
        target.settle(len(DATA))
    changed[50 : 50 + 2 * BLOCK] = bytes(2 * BLOCK)
    assert device.read_bytes() == changed


@pytest.mark.root
def test_a_device_that_is_too_small_is_refused_before_a_write(device: Path) -> None:
    opening = open_target(TargetSpec(device), len(DATA) + 1)
    with pytest.raises(TargetTooSmall, match=str(len(DATA) + 1)), opening:
        pass
    assert device.read_bytes() == DATA


@pytest.mark.root
def test_a_mounted_device_is_refused(tmp_path: Path) -> None:
    require_loop_devices()
    require_tool("mkfs.ext4")
    image = tmp_path / "ext4"
    with image.open("wb") as file:
        file.truncate(8 << 20)
    run("mkfs.ext4", "-q", image)
    with (
        loop_device(image) as device,
        mounted(device, tmp_path / "mnt"),
        pytest.raises(TargetBusy, match="mounted or in use"),
        open_target(TargetSpec(device), 1),
    ):
        pass


@pytest.mark.root
@pytest.mark.parametrize(
    "mkfs", [["mkfs.btrfs", "-q", "-M"], ["mkfs.xfs", "-q", "-m", "reflink=1"]]
)
def test_whole_blocks_are_shared_where_the_file_system_can(tmp_path: Path, mkfs: list[str]) -> None:
    require_loop_devices()
    require_tool(mkfs[0])
    image = tmp_path / "fs"
    with image.open("wb") as file:
        file.truncate(320 << 20)
    run(*mkfs, image)
    with mounted(image, tmp_path / "mnt") as folder:
        (folder / "seed").write_bytes(DATA)
        fd = os.open(folder / "seed", os.O_RDONLY)
        with open_target(TargetSpec(folder / "image"), len(DATA)) as target:
            assert not target.clone(0, fd, 1, BLOCK)
            assert target.clone(0, fd, BLOCK, 9 * BLOCK)
            assert target.cloned == 9 * BLOCK
            _put(target, 9 * BLOCK, DATA[:BLOCK])
            assert target.written == BLOCK
            target.settle(len(DATA))
        os.close(fd)
        assert (folder / "image").read_bytes() == DATA[BLOCK:] + DATA[:BLOCK]


@pytest.mark.root
def test_a_full_file_system_is_a_matter_for_the_operator(tmp_path: Path) -> None:
    require_loop_devices()
    folder = tmp_path / "mnt"
    folder.mkdir()
    run("mount", "-t", "tmpfs", "-o", "size=64k", "none", folder)
    try:
        opening = open_target(TargetSpec(folder / "image"), 1 << 20)
        with pytest.raises(NoSpace, match="No space left"), opening as target:
            _put(target, 0, random.Random(2).randbytes(1 << 20))
    finally:
        run("umount", folder)

# SPDX-License-Identifier: Apache-2.0
"""Block devices of 512 and 4096 byte sectors, and what casync makes of them."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from fsprobe import Superblock, probe
from fsprobe.device import Device
from tests.capabilities import require_loop_devices
from tests.fsprobe import linux_images
from tests.fsprobe.linux_images import MIB, SMALL_XFS
from tests.fsprobe.programs import blank, loop_device, numbers, run

SECTOR_SIZES = (512, 4096)


@pytest.fixture(autouse=True)
def _loop_devices() -> None:
    require_loop_devices()


def lent(image: Path, longer_by: int = MIB) -> Path:
    """Make the image longer, so that the device is longer than its file system."""
    with image.open("r+b") as file:
        file.truncate(image.stat().st_size + longer_by)
    return image


@pytest.mark.root
@pytest.mark.parametrize(
    ("command", "sector_sizes"),
    [
        ("mke2fs -q -F -t ext4 -b 4096", SECTOR_SIZES),
        ("mkfs.xfs -q -f", SECTOR_SIZES),
        ("mkfs.f2fs -q -f", SECTOR_SIZES),
        ("mkfs.btrfs -q -f", SECTOR_SIZES),
        ("mkswap -q", SECTOR_SIZES),
        ("mkfs.jfs -q", (512,)),
        ("mkfs.minix -3", (512,)),
    ],
)
def test_a_file_system_made_on_the_device(
    command: str, sector_sizes: tuple[int, ...], tmp_path: Path
) -> None:
    """Of each sector size that its mkfs supports."""
    for sector_size in sector_sizes:
        image = blank(tmp_path / str(sector_size), 128 * MIB)
        with loop_device(image, sector_size) as device:
            run(*command.split(), device, env=SMALL_XFS, stdin="y\n")
            run("sync", "-f", device)
            found = probe(device)
            with device.open("rb") as file:
                opened = Device(file.fileno())
                assert (opened.length, opened.sector_size) == (128 * MIB, sector_size)
            assert found == probe(image)
        assert found is not None
        assert found.kind in command.replace("mke2fs", "")
        assert found.length == 128 * MIB


@pytest.mark.root
@pytest.mark.parametrize("sector_size", SECTOR_SIZES)
def test_the_same_is_found_on_a_device_as_in_its_image(
    sector_size: int, sample_images: dict[str, Path], tmp_path: Path
) -> None:
    for name in ("ext4", "squashfs", "erofs", "verity", "nilfs2", "xfs", "cramfs"):
        image = tmp_path / name
        run("cp", "--sparse=always", sample_images[name], image)
        with loop_device(lent(image), sector_size) as device:
            assert probe(device) == probe(sample_images[name]), name


@pytest.mark.root
def test_nilfs_tune_gives_the_same_length(tmp_path: Path) -> None:
    image = blank(tmp_path / "image", 136 * MIB + 5000)
    with loop_device(image, 512) as device:
        run("mkfs.nilfs2", "-q", device)
        found = probe(device)
        text = run("nilfs-tune", "-l", device)
    assert found is not None
    assert [found.length, found.block_size] == numbers(text, "Device size:", "Block size:")


@pytest.mark.root
@pytest.mark.interop
@pytest.mark.parametrize(
    ("kind", "command"),
    [
        ("ext2", "mke2fs -q -F -t ext2 -b 1024 {image} 3000"),
        ("ext4", "mke2fs -q -F -t ext4 -b 4096 {image} 2048"),
        ("squashfs", "mksquashfs {tree} {image} -quiet -no-progress -nopad"),
    ],
)
def test_casync_digests_as_much_of_the_device_as_we_find(
    kind: str, command: str, tmp_path: Path
) -> None:
    image = tmp_path / "image"
    tree = linux_images.tree(tmp_path)
    if "{tree}" not in command:
        blank(image, 10 * MIB)
    run(*command.format(image=image, tree=tree).split())
    length = image.stat().st_size
    lent(image, 12 * MIB - length)
    with loop_device(image, 512) as device:
        found = probe(device)
        digest = run("casync", "digest", device).strip()
    assert isinstance(found, Superblock)
    assert found.kind == kind
    assert found.length is not None
    assert found.length < 12 * MIB
    with image.open("rb") as file:
        content = os.pread(file.fileno(), found.length, 0)
    assert digest in (
        hashlib.sha256(content).hexdigest(),
        hashlib.new("sha512_256", content).hexdigest(),
    )

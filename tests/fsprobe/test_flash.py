# SPDX-License-Identifier: Apache-2.0
"""UBI and UBIFS against mtd-utils and blkid; JFFS2 against mkfs.jffs2."""

from __future__ import annotations

from pathlib import Path

import pytest

from fsprobe import ProbeError, probe
from tests.fsprobe.agreement import agreed, found, grown
from tests.fsprobe.container_images import tree, ubi
from tests.fsprobe.programs import run


@pytest.mark.parametrize(
    ("page", "block"), [(1, 131000), (512, 15872), (2048, 126976), (4096, 258048)]
)
def test_ubifs_is_as_long_as_its_file(tmp_path: Path, page: int, block: int) -> None:
    image, page = tmp_path / "image", max(page, 8)
    block -= block % 8
    options = ("-m", str(page), "-e", str(block), "-c", "300", "-r", tree(tmp_path))
    run("mkfs.ubifs", *options, "-o", image)
    superblock = agreed(image)
    assert superblock.length == image.stat().st_size
    assert superblock.block_size == block
    assert found(grown(image)) == superblock


def test_ubi_agrees_with_blkid(sample_images: dict[str, Path], tmp_path: Path) -> None:
    image = ubi(tmp_path, sample_images["ubifs"], tmp_path / "image", "-Q", "4242")
    superblock = agreed(image)
    assert (superblock.kind, superblock.uuid, superblock.length) == ("ubi", "4242", None)


@pytest.mark.parametrize(("name", "offset"), [("ubi", 24), ("ubifs", 40), ("ubifs", 2000)])
def test_a_wrong_checksum_is_refused(
    sample_images: dict[str, Path], tmp_path: Path, name: str, offset: int
) -> None:
    raw = bytearray(sample_images[name].read_bytes())
    raw[offset] ^= 1
    image = tmp_path / "image"
    image.write_bytes(raw)
    with pytest.raises(ProbeError) as caught:
        probe(image)
    assert (caught.value.code, caught.value.kind) == ("probe.corrupt", name)


@pytest.mark.parametrize("order", ["little-endian", "big-endian"])
@pytest.mark.parametrize("options", [[], ["-n"], ["-p", "-e", "64KiB"]])
def test_jffs2_is_known_in_both_orders(tmp_path: Path, order: str, options: list[str]) -> None:
    image = tmp_path / "image"
    run("mkfs.jffs2", "-r", tree(tmp_path), f"--{order}", *options, "-o", image)
    superblock = found(image)
    assert (superblock.kind, superblock.version, superblock.length) == ("jffs2", order, None)


@pytest.mark.parametrize(
    ("options", "offset"),
    [(["-n"], 2), (["-n"], 5), (["-n"], 8), (["-n"], 20), (["-n"], 44), ([], 5), ([], 8)],
)
def test_a_jffs2_magic_without_right_checksums_is_unknown(
    tmp_path: Path, options: list[str], offset: int
) -> None:
    """The first node is a directory entry, or without -n a clean marker."""
    image = tmp_path / "image"
    run("mkfs.jffs2", *options, "-l", "-r", tree(tmp_path), "-o", image)
    raw = bytearray(image.read_bytes())
    raw[offset] ^= 1
    image.write_bytes(raw)
    assert (probe(image) is None) == (offset != 44), "the name has a CRC of its own"

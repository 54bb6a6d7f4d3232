# SPDX-License-Identifier: Apache-2.0
"""ReiserFS, Reiser4 and UFS against their tools and blkid; the rest by hand against blkid."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fsprobe import crafted_containers as crafted
from tests.fsprobe.agreement import agreed, found, grown
from tests.fsprobe.container_images import tree
from tests.fsprobe.programs import blank, run

MIB = 1 << 20


@pytest.mark.parametrize("options", ["--format 3.6 -l label", "--format 3.5", "-b 1024 -s 1024"])
def test_reiserfs_is_as_long_as_its_device(tmp_path: Path, options: str) -> None:
    image = blank(tmp_path / "image", 40 * MIB)
    run("mkreiserfs", "-q", "-f", "-f", *options.split(), image)
    superblock = agreed(image)
    assert (superblock.kind, superblock.length) == ("reiserfs", 40 * MIB)


def test_reiser4_agrees_with_blkid(tmp_path: Path) -> None:
    image = blank(tmp_path / "image", 32 * MIB)
    run("mkfs.reiser4", "-y", "-f", "-L", "four", image)
    superblock = agreed(image)
    assert (superblock.kind, superblock.label, superblock.length) == ("reiser4", "four", None)


@pytest.mark.parametrize("version", ["1", "2"])
@pytest.mark.parametrize("order", ["le", "be"])
@pytest.mark.parametrize("sizes", ["", "bsize=16384,fsize=2048,"])
def test_ufs_is_as_long_as_its_file(tmp_path: Path, version: str, order: str, sizes: str) -> None:
    image = tmp_path / "image"
    options = ("-B", order, "-s", "3m", "-o", f"{sizes}version={version}")
    run("makefs", "-t", "ffs", *options, image, tree(tmp_path))
    superblock = agreed(image)
    assert (superblock.kind, superblock.version) == ("ufs", version)
    assert superblock.length == 3 * MIB == image.stat().st_size
    assert found(grown(image)) == superblock


@pytest.mark.parametrize(
    ("kind", "craft", "length"),
    [
        ("befs", crafted.befs, 2 * MIB),
        ("befs", lambda: crafted.befs(">"), 2 * MIB),
        ("hpfs", crafted.hpfs, 1 * MIB),
        ("sysv", crafted.sysv, None),
    ],
)
def test_a_crafted_superblock_agrees_with_blkid(
    tmp_path: Path, kind: str, craft: Callable[[], bytes], length: int | None
) -> None:
    image = tmp_path / "image"
    image.write_bytes(craft())
    superblock = agreed(image)
    assert (superblock.kind, superblock.length) == (kind, length)
    assert superblock.label is not None


def test_crafted_xenix_is_where_the_kernel_has_it(tmp_path: Path) -> None:
    """Not held against blkid, which looks for the magic 8 bytes after the end of the structure."""
    image = tmp_path / "image"
    image.write_bytes(crafted.xenix())
    assert (found(image).kind, found(image).label) == ("xenix", "xenix")

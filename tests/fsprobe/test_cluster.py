# SPDX-License-Identifier: Apache-2.0
"""OCFS2 and GFS2 against their tools and blkid."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.fsprobe.agreement import agreed
from tests.fsprobe.programs import blank, run

MIB = 1 << 20


@pytest.mark.parametrize(("block", "cluster"), [(1024, 4096), (4096, 131072)])
def test_ocfs2_is_as_long_as_its_device(tmp_path: Path, block: int, cluster: int) -> None:
    image = blank(tmp_path / "image", 260 * MIB)
    sizes = ("-b", str(block), "-C", str(cluster))
    run("mkfs.ocfs2", "-q", "-x", "-F", "-M", "local", "-J", "size=4M", *sizes, "-L", "c", image)
    superblock = agreed(image)
    assert (superblock.kind, superblock.label) == ("ocfs2", "c")
    assert (superblock.length, superblock.block_size) == (260 * MIB, block)


def test_gfs2_agrees_with_blkid(tmp_path: Path) -> None:
    image = blank(tmp_path / "image", 64 * MIB)
    run("mkfs.gfs2", "-q", "-O", "-p", "lock_nolock", "-J", "8", "-t", "one:two", image)
    superblock = agreed(image)
    assert (superblock.kind, superblock.label, superblock.length) == ("gfs2", "one:two", None)

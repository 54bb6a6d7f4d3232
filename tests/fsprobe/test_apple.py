# SPDX-License-Identifier: Apache-2.0
"""HFS against hformat, APFS against mkapfs, HFS+ by hand; all against blkid."""

from __future__ import annotations

from pathlib import Path

import pytest

from fsprobe import ProbeError, probe
from tests.fsprobe import crafted_containers as crafted
from tests.fsprobe.agreement import agreed, found
from tests.fsprobe.programs import blank, run

MIB = 1 << 20


def test_hfs_agrees_with_blkid(tmp_path: Path) -> None:
    image = blank(tmp_path / "image", 8 * MIB)
    run("hformat", "-l", "Old Mac", image)
    superblock = agreed(image)
    assert (superblock.kind, superblock.label) == ("hfs", "Old Mac")


def test_apfs_is_as_long_as_its_device(tmp_path: Path) -> None:
    image = blank(tmp_path / "image", 600 * MIB)
    run("mkapfs", image)
    superblock = agreed(image)
    assert (superblock.kind, superblock.length) == ("apfs", 600 * MIB)


def test_crafted_apfs_agrees_with_blkid_and_needs_its_checksum(tmp_path: Path) -> None:
    raw = bytearray(crafted.apfs())
    image = tmp_path / "image"
    image.write_bytes(raw)
    assert agreed(image).length == 4 * MIB
    raw[72] ^= 1
    image.write_bytes(raw)
    with pytest.raises(ProbeError) as caught:
        probe(image)
    assert (caught.value.code, caught.value.kind) == ("probe.corrupt", "apfs")


@pytest.mark.parametrize("wrapped", [False, True])
def test_crafted_hfs_plus_agrees_with_blkid(tmp_path: Path, wrapped: bool) -> None:
    image = tmp_path / "image"
    image.write_bytes(crafted.hfs_plus(wrapped))
    superblock = agreed(image, but=("VERSION",))  # blkid does not tell it
    assert (superblock.kind, superblock.label, superblock.version) == ("hfsplus", "Röm", "4")
    assert found(image).block_size == 4096

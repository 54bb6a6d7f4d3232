# SPDX-License-Identifier: Apache-2.0
"""UDF against mkudffs, udfinfo and blkid."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fsprobe import ProbeError, probe
from tests.fsprobe.agreement import agreed, found, grown
from tests.fsprobe.programs import blank, run

MIB = 1 << 20


def udfinfo(image: Path, name: str) -> int:
    match = re.search(rf"^{name}=(\d+)", run("udfinfo", image), re.MULTILINE)
    assert match is not None
    return int(match[1])


@pytest.mark.parametrize("block_size", [512, 1024, 2048, 4096])
@pytest.mark.parametrize("mib", [3, 20, 257])
def test_the_length_reaches_through_the_closing_anchor(
    tmp_path: Path, block_size: int, mib: int
) -> None:
    image = blank(tmp_path / "image", mib * MIB)
    run("mkudffs", "--utf8", "-b", str(block_size), "-l", "Ünïcode", image)
    superblock = agreed(image)
    assert superblock.block_size == block_size == udfinfo(image, "blocksize")
    assert superblock.length == udfinfo(image, "blocks") * block_size == mib * MIB
    if mib == 3:
        assert found(grown(image)) == superblock


@pytest.mark.parametrize(
    "options",
    [
        "--media-type=cdrw -b 2048",
        "--media-type=dvd -b 2048",
        "--media-type=bdr -b 2048",
        "--media-type=hd --udfrev=1.02",
        "--media-type=hd --udfrev=2.00",
        "--u16 --media-type=hd --udfrev=1.50 -l wide",
        "--media-type=hd --uuid=0123456789abcdef",
    ],
)
def test_every_medium_and_revision_agrees_with_blkid(tmp_path: Path, options: str) -> None:
    image = blank(tmp_path / "image", 24 * MIB)
    run("mkudffs", *options.split(), image)
    superblock = agreed(image)
    assert superblock.length == 24 * MIB or "media-type=hd" not in options
    assert superblock.length is not None and superblock.length <= 24 * MIB


def test_a_bridge_is_as_long_as_its_image(sample_images: dict[str, Path]) -> None:
    image = sample_images["bridge"]
    assert found(image).length == image.stat().st_size


def test_udf_without_an_anchor_is_refused(sample_images: dict[str, Path], tmp_path: Path) -> None:
    raw = sample_images["udf"].read_bytes()[: 64 << 10]
    image = tmp_path / "image"
    image.write_bytes(raw)
    with pytest.raises(ProbeError) as caught:
        probe(image)
    assert caught.value.kind == "udf"

# SPDX-License-Identifier: Apache-2.0
"""U-Boot images against mkimage and dtc."""

from __future__ import annotations

from pathlib import Path

import pytest

from fsprobe import ProbeError, probe
from tests.fsprobe.agreement import found, grown
from tests.fsprobe.container_images import fit
from tests.fsprobe.programs import run


@pytest.mark.parametrize("options", [[], ["-E"], ["-E", "-p", "0x1000"], ["-E", "-B", "0x200"]])
def test_a_fit_is_as_long_as_its_file(
    sample_images: dict[str, Path], tmp_path: Path, options: list[str]
) -> None:
    image = fit(tmp_path, tmp_path / "image", sample_images["fat12"], *options)
    superblock = found(image)
    assert (superblock.kind, superblock.label) == ("fit", "test image")
    assert superblock.version == "17"
    # mkimage rounds the file up to 4 bytes, or to the block size of -B.
    rounding = 0x200 if "-B" in options else 4
    assert superblock.length is not None
    assert 0 <= image.stat().st_size - superblock.length < rounding
    assert superblock.length > (1 << 20)
    assert found(grown(image)) == superblock


def test_a_device_tree_by_itself_is_no_fit(tmp_path: Path) -> None:
    source, image = tmp_path / "source", tmp_path / "image"
    source.write_text('/dts-v1/; / { model = "board"; images = "no node"; cpus { n = <1>; }; };')
    run("dtc", "-O", "dtb", "-o", image, source)
    superblock = found(image)
    assert (superblock.kind, superblock.length) == ("dtb", image.stat().st_size)


@pytest.mark.parametrize("offset", [4, 8, 24, 36, 56])
def test_a_tree_that_cannot_be_is_refused(
    sample_images: dict[str, Path], tmp_path: Path, offset: int
) -> None:
    raw = bytearray(sample_images["fit"].read_bytes())
    raw[offset] ^= 0x80
    image = tmp_path / "image"
    image.write_bytes(raw)
    with pytest.raises(ProbeError) as caught:
        probe(image)
    assert caught.value.kind == "fit"


@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_a_uimage_is_as_long_as_its_file(
    sample_images: dict[str, Path], tmp_path: Path, compression: str
) -> None:
    image = tmp_path / "image"
    kind = ("-A", "arm64", "-O", "linux", "-T", "kernel", "-C", compression, "-n", "a kernel")
    run("mkimage", *kind, "-d", sample_images["fat12"], image)
    superblock = found(image)
    assert (superblock.kind, superblock.label) == ("uimage", "a kernel")
    assert found(grown(image)).length == superblock.length == image.stat().st_size


def test_a_uimage_with_a_wrong_checksum_is_refused(
    sample_images: dict[str, Path], tmp_path: Path
) -> None:
    raw = bytearray(sample_images["uimage"].read_bytes())
    raw[14] ^= 1
    image = tmp_path / "image"
    image.write_bytes(raw)
    with pytest.raises(ProbeError) as caught:
        probe(image)
    assert (caught.value.code, caught.value.kind) == ("probe.corrupt", "uimage")


def test_a_tree_of_many_properties_is_followed_to_its_end(tmp_path: Path) -> None:
    source, image = tmp_path / "source", tmp_path / "image"
    values = "".join(f"p{n} = <{n}>; " for n in range(8))
    nodes = "".join(f"node{n} {{ {values}}}; " for n in range(2000))
    source.write_text("/dts-v1/; / { " + nodes + "};")
    run("dtc", "-O", "dtb", "-o", image, source)
    superblock = found(image)
    assert (superblock.kind, superblock.length) == ("dtb", image.stat().st_size)

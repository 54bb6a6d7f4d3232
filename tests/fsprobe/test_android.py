# SPDX-License-Identifier: Apache-2.0
"""Android images against mkbootimg, img2simg and casync; the rest written by hand."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from fsprobe import ProbeError, probe
from tests.capabilities import require_loop_devices, require_tool
from tests.fsprobe import crafted_containers as crafted
from tests.fsprobe.agreement import found, grown
from tests.fsprobe.programs import blank, loop_device, run

MIB = 1 << 20


def made(folder: Path, version: int, page: int, *options: str | Path) -> Path:
    """Run mkbootimg on a kernel of 5000 bytes and a ramdisk of 3000."""
    kernel, ramdisk, image = (folder / name for name in ("kernel", "ramdisk", f"boot{version}"))
    kernel.write_bytes(b"k" * 5000)
    ramdisk.write_bytes(b"r" * 3000)
    common = ("--header_version", str(version), "--pagesize", str(page), "--board", "board")
    run("mkbootimg", *common, "--kernel", kernel, "--ramdisk", ramdisk, *options, "-o", image)
    return image


@pytest.mark.parametrize("page", [2048, 4096, 16384])
@pytest.mark.parametrize("version", [0, 1, 2, 3])
def test_mkbootimg_is_as_long_as_its_file(tmp_path: Path, version: int, page: int) -> None:
    extra = tmp_path / "extra"
    extra.write_bytes(b"x" * 40000)
    # Debian's mkbootimg 29.0.6 fails with --recovery_dtbo: header 1 with one is written by hand.
    options: dict[int, tuple[str | Path, ...]] = {0: ("--second", extra), 2: ("--dtb", extra)}
    image = made(tmp_path, version, page, *options.get(version, ()))
    superblock = found(image)
    assert (superblock.kind, superblock.version) == ("android_boot", str(version))
    assert superblock.length == image.stat().st_size
    assert superblock.block_size == (4096 if version == 3 else page)
    assert superblock.label == (None if version == 3 else "board")
    if version != 1:
        assert found(grown(image)).length == superblock.length


def test_casyncs_extra_page_is_kept_where_the_device_has_it(tmp_path: Path) -> None:
    """For header 1 without a recovery part casync counts one page too many: harmless."""
    image = made(tmp_path, 1, 2048)
    assert found(image).length == image.stat().st_size
    assert found(grown(image)).length == image.stat().st_size + 2048


@pytest.mark.root
@pytest.mark.parametrize("version", [0, 1])
def test_on_a_device_the_length_is_casyncs(tmp_path: Path, version: int) -> None:
    require_loop_devices()
    require_tool("casync")
    image = grown(made(tmp_path, version, 2048))
    index = tmp_path / "index.caibx"
    with image.open("r+b") as file:
        file.truncate(4 * MIB)
    with loop_device(image, 512) as device:
        superblock = found(device)
        run("casync", "make", "--store", tmp_path / "store", index, device)
    assert superblock.length == int.from_bytes(index.read_bytes()[-80:-72], "little")


@pytest.mark.root
def test_casync_cuts_the_device_tree_of_header_2_and_the_probe_does_not(tmp_path: Path) -> None:
    require_loop_devices()
    require_tool("casync")
    tree = tmp_path / "tree"
    tree.write_bytes(b"t" * 40000)
    image = made(tmp_path, 2, 2048, "--dtb", tree)
    length = image.stat().st_size
    index = tmp_path / "index.caibx"
    with image.open("r+b") as file:
        file.truncate(4 * MIB)
    with loop_device(image, 512) as device:
        run("casync", "make", "--store", tmp_path / "store", index, device)
        assert found(device).length == length
    assert int.from_bytes(index.read_bytes()[-80:-72], "little") < length


def test_made_vendor_boot_is_as_long_as_its_file(tmp_path: Path) -> None:
    ramdisk, tree, image = (tmp_path / name for name in ("ramdisk", "tree", "image"))
    ramdisk.write_bytes(b"r" * 3000)
    tree.write_bytes(b"t" * 9000)
    options = ("--vendor_ramdisk", ramdisk, "--dtb", tree, "--header_version", "3")
    run("mkbootimg", "--vendor_boot", image, *options)
    superblock = found(image)
    assert (superblock.kind, superblock.version) == ("android_vendor_boot", "3")
    assert superblock.length == image.stat().st_size


@pytest.mark.parametrize("version", [3, 4])
def test_crafted_vendor_boot_is_as_long_as_its_parts(tmp_path: Path, version: int) -> None:
    image = tmp_path / "image"
    image.write_bytes(crafted.vendor_boot(version))
    assert found(grown(image)).length == image.stat().st_size
    assert found(image).label == "vendor"


def test_crafted_boot_of_version_4_ends_after_its_signature(tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.write_bytes(crafted.android_boot(4))
    assert found(image).length == image.stat().st_size == 4096 * (1 + 2 + 1 + 3)


@pytest.mark.parametrize("version", [0, 1, 2, 3])
def test_a_crafted_boot_image_is_as_long_as_its_parts(tmp_path: Path, version: int) -> None:
    image = tmp_path / "image"
    image.write_bytes(crafted.android_boot(version))
    assert found(grown(image)).length == image.stat().st_size


@pytest.mark.parametrize("page", [0, 3000, 0x80000000])
def test_a_page_size_that_cannot_be_is_refused(tmp_path: Path, page: int) -> None:
    raw = bytearray(crafted.android_boot(2))
    struct.pack_into("<I", raw, 36, page)
    image = tmp_path / "image"
    image.write_bytes(raw)
    with pytest.raises(ProbeError) as caught:
        probe(image)
    assert caught.value.code == "probe.corrupt"


def test_a_sparse_image_is_as_long_as_its_file(
    sample_images: dict[str, Path], tmp_path: Path
) -> None:
    image = tmp_path / "image"
    run("img2simg", sample_images["ext4"], image)
    superblock = found(image)
    assert (superblock.kind, superblock.block_size) == ("android_sparse", 4096)
    assert found(grown(image)).length == superblock.length == image.stat().st_size
    with image.open("r+b") as file:
        file.truncate(image.stat().st_size - 1)
    with pytest.raises(ProbeError) as caught:
        probe(image)
    assert caught.value.code == "probe.truncated"


def test_a_sparse_image_with_a_wrong_count_of_blocks_is_refused(
    sample_images: dict[str, Path], tmp_path: Path
) -> None:
    raw = bytearray(sample_images["sparse"].read_bytes())
    raw[16] ^= 1
    image = tmp_path / "image"
    image.write_bytes(raw)
    with pytest.raises(ProbeError):
        probe(image)


def test_crafted_vbmeta_is_header_and_both_blocks(tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.write_bytes(crafted.vbmeta())
    assert found(grown(image)).length == 256 + 320 + 576


def test_a_footer_gives_way_to_the_image_in_front_of_it(
    sample_images: dict[str, Path], tmp_path: Path
) -> None:
    image = blank(tmp_path / "image", 2 * MIB)
    footed = crafted.avb_footer(MIB)
    image.write_bytes(footed)
    assert found(image).kind == "android_avb_footer"
    small = sample_images["ext2"].read_bytes()
    image.write_bytes(small + footed)
    assert found(image) == found(sample_images["ext2"])


def test_crafted_super_partition_needs_its_checksum(tmp_path: Path) -> None:
    raw = bytearray(crafted.android_super())
    image = tmp_path / "image"
    image.write_bytes(raw)
    assert found(image).kind == "android_super"
    raw[4096 + 44] ^= 1
    image.write_bytes(raw)
    with pytest.raises(ProbeError):
        probe(image)

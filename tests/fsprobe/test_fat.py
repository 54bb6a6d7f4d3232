# SPDX-License-Identifier: Apache-2.0
"""FAT against mkfs.fat, fsck.fat, blkid and casync."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import pytest

from fsprobe import probe
from tests.capabilities import require_loop_devices, require_tool
from tests.fsprobe.agreement import agreed, found, grown
from tests.fsprobe.programs import blank, loop_device, run

MIB = 1 << 20

LAYOUTS = [
    (1, "-F 12 -n ONE", "FAT12"),
    (3, "-F 12 -s 2 -S 1024 -n TWO", "FAT12"),
    (8, "-F 16 -s 1 -n THREE", "FAT16"),
    (64, "-F 16 -S 2048 -r 1024 -n FOUR", "FAT16"),
    (64, "-F 16 -S 4096 -s 1 -R 8 -n FIVE", "FAT16"),
    (40, "-F 32 -s 1 -n SIX", "FAT32"),
    (300, "-F 32 -s 1 -S 4096 -R 16 -n SEVEN", "FAT32"),
    (70, "-F 32 -s 2 -f 1 -n EIGHT", "FAT32"),
    (5, "-a -n NINE", "FAT12"),
]


def formatted(path: Path, mib: int, options: str) -> Path:
    run("mkfs.fat", *options.split(), blank(path, mib * MIB))
    return path


@pytest.mark.parametrize(("mib", "options", "version"), LAYOUTS)
def test_every_layout_of_mkfs_is_as_long_as_fsck_says(
    tmp_path: Path, mib: int, options: str, version: str
) -> None:
    image = formatted(tmp_path / "image", mib, options)
    superblock = agreed(image)
    report = run("fsck.fat", "-vn", image)
    sectors, size = (
        int(re.search(pattern, report)[1])  # type: ignore[index]
        for pattern in (r"(\d+) sectors total", r"(\d+) bytes per logical sector")
    )
    assert (superblock.kind, superblock.version) == ("vfat", version)
    assert (superblock.length, superblock.block_size) == (sectors * size, size)


@pytest.mark.parametrize("name", ["fat12", "fat16", "fat32"])
def test_a_fat_in_a_larger_file_keeps_its_length(
    sample_images: dict[str, Path], tmp_path: Path, name: str
) -> None:
    image = tmp_path / name
    image.write_bytes(sample_images[name].read_bytes())
    assert found(grown(image)) == found(image)


def test_the_label_in_the_root_directory_outranks_the_boot_sector(tmp_path: Path) -> None:
    image = formatted(tmp_path / "image", 40, "-F 32 -s 1 -n BOOT")
    run("fatlabel", image, "NEW LABEL")
    with image.open("r+b") as file:
        file.seek(0x47)
        file.write(b"OLD LABEL  ")
    assert agreed(image).label == "NEW LABEL"


def test_the_label_of_the_boot_sector_answers_where_the_directory_has_none(
    tmp_path: Path,
) -> None:
    image = formatted(tmp_path / "image", 1, "-F 12")
    with image.open("r+b") as file:
        file.seek(0x2B)
        file.write(b"BOOT LABEL ")
    assert found(image).label == "BOOT LABEL"


def test_no_name_is_no_label(tmp_path: Path) -> None:
    assert agreed(formatted(tmp_path / "image", 1, "-F 12")).label is None


def test_the_table_that_mkfs_fakes_for_windows_leaves_a_fat(tmp_path: Path) -> None:
    image = formatted(tmp_path / "image", 8, "-F 16 -s 1 --mbr=y -n FAKE")
    assert found(image).kind == "vfat"


def test_a_fat_without_type_string_counts_by_its_media_byte(tmp_path: Path) -> None:
    image = formatted(tmp_path / "image", 1, "-F 12")
    with image.open("r+b") as file:
        file.seek(0x36)
        file.write(bytes(8))
    superblock = found(image)
    assert (superblock.length, superblock.weak) == (MIB, True)
    with image.open("r+b") as file:
        file.seek(512)
        file.write(b"\0")
    assert probe(image) is None


@pytest.mark.parametrize("table", ["dos", "gpt"])
def test_an_mbr_with_the_parameter_block_of_a_fat_is_no_fat(tmp_path: Path, table: str) -> None:
    """A disk that once was one FAT: sfdisk keeps the boot code, and with it the old block."""
    image = formatted(tmp_path / "image", 16, "-F 16 -n WHOLE")
    run("sfdisk", "-q", "--wipe", "never", image, stdin=f"label: {table}\n2048,8192,L\n")
    head = image.read_bytes()[:512]
    sectors, size = struct.unpack_from("<H", head, 19)[0], struct.unpack_from("<H", head, 11)[0]
    assert sectors * size == 16 * MIB, "the parameter block must have survived"
    superblock = found(image)
    assert superblock.kind == table
    assert superblock.length == {"dos": (2048 + 8192) * 512, "gpt": 16 * MIB}[table]


def test_boot_code_with_a_plausible_parameter_block_is_no_fat(tmp_path: Path) -> None:
    """No partitions either: 0x55AA and a parameter block, but no FAT where it points to."""
    sector = bytearray(512)
    struct.pack_into("<HBHBHHBH", sector, 11, 512, 4, 1, 2, 512, 2048, 0xF8, 2)
    sector[62:446] = b"\xeb\xfe" * 192
    sector[510:] = b"\x55\xaa"
    image = tmp_path / "image"
    image.write_bytes(bytes(sector) + b"\x90" * MIB)
    assert probe(image) is None


@pytest.mark.root
@pytest.mark.parametrize("sector_size", [512, 4096])
def test_on_a_device_the_length_is_casyncs(tmp_path: Path, sector_size: int) -> None:
    require_loop_devices()
    require_tool("casync")
    image = blank(tmp_path / "image", 72 * MIB)
    index = tmp_path / "index.caibx"
    with loop_device(image, sector_size) as device:
        run("mkfs.fat", "-F", "16", "-n", "DEVICE", device, str(64 << 10))
        superblock = found(device)
        run("casync", "make", "--store", tmp_path / "store", index, device)
    assert superblock.block_size == sector_size
    assert superblock.length == 64 * MIB
    assert superblock.length == int.from_bytes(index.read_bytes()[-80:-72], "little")

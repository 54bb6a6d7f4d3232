# SPDX-License-Identifier: Apache-2.0
"""GPT against sfdisk and blkid."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path

import pytest

from fsprobe import ProbeError, probe
from tests.capabilities import require_loop_devices
from tests.fsprobe.agreement import found, grown
from tests.fsprobe.programs import blank, blkid, loop_device, run

MIB = 1 << 20
SCRIPT = "label: gpt\n,1M,U\n,2M,L\n"


def partitioned(image: Path, length: int, script: str = SCRIPT) -> Path:
    run("sfdisk", "-q", blank(image, length), stdin=script)
    return image


@pytest.mark.parametrize(
    ("length", "script"),
    [
        (8 * MIB, SCRIPT),
        (8 * MIB + 7 * 512, SCRIPT),
        (64 * MIB, "label: gpt\ntable-length: 512\n,1M,U\n"),
        (5 << 40, "label: gpt\n,1M,U\n,4T,L\n"),
    ],
)
def test_the_length_reaches_through_the_backup_header(
    tmp_path: Path, length: int, script: str
) -> None:
    image = partitioned(tmp_path / "image", length, script)
    superblock = found(image)
    table = json.loads(run("sfdisk", "--json", image))["partitiontable"]
    assert superblock.kind == "gpt"
    assert superblock.length == length
    assert superblock.block_size == table["sectorsize"] == 512
    assert superblock.uuid == table["id"].lower() == blkid(image)["PTUUID"]


def test_a_disk_in_a_larger_file_keeps_its_length(tmp_path: Path) -> None:
    image = partitioned(tmp_path / "image", 8 * MIB)
    assert found(grown(image)) == found(image)


def test_a_disk_that_was_cut_short_is_refused(tmp_path: Path) -> None:
    image = partitioned(tmp_path / "image", 8 * MIB)
    with image.open("r+b") as file:
        file.truncate(8 * MIB - 512)
    with pytest.raises(ProbeError) as caught:
        probe(image)
    assert (caught.value.code, caught.value.kind) == ("probe.truncated", "gpt")


@pytest.mark.parametrize("offset", [512 + 33, 512 + 56, 1024, 1024 + 32])
def test_the_backup_answers_for_a_damaged_primary(tmp_path: Path, offset: int) -> None:
    image = partitioned(tmp_path / "image", 8 * MIB)
    whole = found(image)
    raw = bytearray(image.read_bytes())
    raw[offset] ^= 1
    image.write_bytes(raw)
    assert found(image) == whole
    image.write_bytes(raw[:-512])
    with pytest.raises(ProbeError) as caught:
        probe(image)
    assert (caught.value.code, caught.value.kind) == ("probe.corrupt", "gpt")


def test_a_backup_without_its_protective_mbr_is_stale(tmp_path: Path) -> None:
    image = partitioned(tmp_path / "image", 8 * MIB)
    with image.open("r+b") as file:
        file.write(bytes(MIB))
    assert probe(image) is None


def test_the_place_of_the_header_tells_the_sector_size(tmp_path: Path) -> None:
    """A disk of 4096-byte sectors copied into a file: by hand, as sfdisk takes 512 for files."""
    length, size = 4 * MIB, 4096
    entries = bytearray(16384)
    struct.pack_into("<16s16sQQ", entries, 0, b"\x28" * 16, b"\x11" * 16, 6, 100)
    header = bytearray(92)
    last = length // size - 1
    struct.pack_into("<8sIIIIQQQQ", header, 0, b"EFI PART", 0x10000, 92, 0, 0, 1, last, 6, last - 5)
    struct.pack_into("<16sQIII", header, 56, b"\x22" * 16, 2, 128, 128, zlib.crc32(entries))
    struct.pack_into("<I", header, 16, zlib.crc32(header))
    raw = bytearray(length)
    raw[446:462] = struct.pack("<8BII", 0, 0, 2, 0, 0xEE, 255, 255, 255, 1, last)
    raw[510:512] = b"\x55\xaa"
    raw[size : size + 92] = header
    raw[2 * size : 2 * size + len(entries)] = entries
    image = tmp_path / "image"
    image.write_bytes(raw)
    superblock = found(image)
    assert (superblock.kind, superblock.length, superblock.block_size) == ("gpt", length, size)


@pytest.mark.parametrize("field", [(80, 0xFFFFFFFF), (84, 0xFFFFFFFF), (12, 0xFFFFFFFF)])
def test_hostile_sizes_are_refused(tmp_path: Path, field: tuple[int, int]) -> None:
    image = partitioned(tmp_path / "image", 8 * MIB)
    raw = bytearray(image.read_bytes())[: 4 * MIB]
    struct.pack_into("<I", raw, 512 + field[0], field[1])
    struct.pack_into("<I", raw, 512 + 16, 0)
    struct.pack_into("<I", raw, 512 + 16, zlib.crc32(raw[512 : 512 + 92]))
    image.write_bytes(raw)
    with pytest.raises(ProbeError):
        probe(image)


@pytest.mark.root
@pytest.mark.parametrize("sector_size", [512, 4096])
def test_on_a_device_sfdisk_and_the_probe_agree(tmp_path: Path, sector_size: int) -> None:
    require_loop_devices()
    with loop_device(blank(tmp_path / "image", 16 * MIB), sector_size) as device:
        run("sfdisk", "-q", "--no-reread", "--no-tell-kernel", device, stdin=SCRIPT)
        superblock = found(device)
        table = json.loads(run("sfdisk", "--json", device))["partitiontable"]
    assert superblock.block_size == table["sectorsize"] == sector_size
    assert superblock.length == 16 * MIB
    assert superblock.uuid == table["id"].lower()
    assert found(tmp_path / "image") == superblock, "the image file of that disk is the same"

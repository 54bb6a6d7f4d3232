# SPDX-License-Identifier: Apache-2.0
"""MBR against sfdisk and blkid."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from fsprobe import ProbeError, probe
from tests.capabilities import require_loop_devices
from tests.fsprobe.agreement import found
from tests.fsprobe.programs import blank, blkid, loop_device, run

MIB = 1 << 20


def end_of_last(image: Path) -> int:
    table = json.loads(run("sfdisk", "--json", image))["partitiontable"]
    sectors = max(entry["start"] + entry["size"] for entry in table["partitions"])
    return int(sectors * table["sectorsize"])


@pytest.mark.parametrize(
    "script",
    [
        "label: dos\n,1M,c,*\n,2M,83\n",
        "label: dos\nlabel-id: 0xdeadbeef\n4096,1000,83\n2048,1000,c\n",
        "label: dos\n,1M,c\n,6M,E\n,1M,83\n,2M,83\n",
    ],
)
def test_the_length_is_the_end_of_the_last_partition(tmp_path: Path, script: str) -> None:
    image = blank(tmp_path / "image", 16 * MIB)
    run("sfdisk", "-q", image, stdin=script)
    superblock = found(image)
    assert superblock.kind == blkid(image)["PTTYPE"] == "dos"
    assert superblock.uuid == blkid(image)["PTUUID"]
    assert superblock.length == end_of_last(image)


def test_a_disk_that_was_cut_short_is_refused(
    sample_images: dict[str, Path], tmp_path: Path
) -> None:
    raw = sample_images["dos"].read_bytes()
    length = found(sample_images["dos"]).length
    assert length is not None
    image = tmp_path / "image"
    image.write_bytes(raw[:length])
    assert found(image).length == length
    image.write_bytes(raw[: length - 1])
    with pytest.raises(ProbeError) as caught:
        probe(image)
    assert (caught.value.code, caught.value.kind) == ("probe.truncated", "dos")


@pytest.mark.parametrize(
    "entry",
    [
        struct.pack("<B3xB3xII", 0x55, 0x83, 1, 1),
        struct.pack("<B3xB3xII", 0x00, 0x00, 1, 1),
        struct.pack("<B3xB3xII", 0x80, 0x83, 1, 0),
        struct.pack("<B3xB3xII", 0x00, 0x83, 0, 10),
        struct.pack("<B3xB3xII", 0x00, 0x83, 9, 10) + struct.pack("<B3xB3xII", 0, 0x83, 10, 10),
        b"",
    ],
)
def test_boot_code_in_place_of_the_table_is_no_table(tmp_path: Path, entry: bytes) -> None:
    image = tmp_path / "image"
    image.write_bytes(bytes(446) + entry.ljust(64, b"\0") + b"\x55\xaa" + bytes(MIB))
    assert probe(image) is None


def test_a_protective_mbr_alone_tells_no_length(
    sample_images: dict[str, Path], tmp_path: Path
) -> None:
    image = tmp_path / "image"
    image.write_bytes(sample_images["gpt"].read_bytes()[:512] + bytes(MIB))
    superblock = found(image)
    assert (superblock.kind, superblock.length) == ("PMBR", None)
    assert blkid(image)["PTTYPE"] == "PMBR"


@pytest.mark.root
@pytest.mark.parametrize("sector_size", [512, 4096])
def test_on_a_device_the_unit_is_its_own_sector(tmp_path: Path, sector_size: int) -> None:
    require_loop_devices()
    with loop_device(blank(tmp_path / "image", 16 * MIB), sector_size) as device:
        script = "label: dos\n,2M,c\n,4M,83\n"
        run("sfdisk", "-q", "--no-reread", "--no-tell-kernel", device, stdin=script)
        superblock, expected = found(device), end_of_last(device)
    assert (superblock.length, superblock.block_size) == (expected, sector_size)

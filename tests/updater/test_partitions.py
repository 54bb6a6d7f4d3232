# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import builtins
import json
import struct
import subprocess
import sys
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.capabilities import require_loop_devices, require_module, require_tool
from tests.loops import loop_device, run
from tests.updater.disks import (
    GPT,
    LABEL_A,
    LABEL_B,
    MBR,
    MIB,
    SIGNATURE,
    UUID_A,
    UUID_B,
    make_disk,
)
from updater.partitions import Partition, list_partitions


@pytest.fixture
def gpt(tmp_path: Path) -> Path:
    require_tool("sfdisk")
    return make_disk(tmp_path / "gpt.img", GPT)


def by_sfdisk(path: Path) -> list[tuple[int, int, str | None, str | None]]:
    table = json.loads(run("sfdisk", "--json", path))["partitiontable"]
    return [
        (
            item["start"] * table["sectorsize"],
            item["size"] * table["sectorsize"],
            item.get("name"),
            item["uuid"].lower() if "uuid" in item else None,
        )
        for item in table["partitions"]
    ]


def facts(found: Sequence[Partition]) -> list[tuple[int, int, str | None, str | None]]:
    return [(each.offset, each.length, each.label, each.uuid) for each in found]


def test_a_gpt_is_read_as_sfdisk_reads_it(gpt: Path) -> None:
    found = list_partitions(gpt)
    assert facts(found) == by_sfdisk(gpt)
    assert found[1:] == (
        Partition(2, 5 * MIB, 8 * MIB, LABEL_A, UUID_A),
        Partition(3, 13 * MIB, 8 * MIB, LABEL_B, UUID_B),
    )


def test_gaps_in_a_table_keep_their_numbers(gpt: Path) -> None:
    run("sfdisk", "--quiet", "--delete", gpt, "2")
    assert [each.number for each in list_partitions(gpt)] == [1, 3]


@pytest.mark.parametrize("place", [512 + 16, 1024 + 32])
def test_the_backup_answers_where_the_first_table_is_damaged(place: int, gpt: Path) -> None:
    before = list_partitions(gpt)
    with gpt.open("r+b") as file:
        file.seek(place)
        file.write(b"\xff")
    assert list_partitions(gpt) == before


@pytest.mark.root
def test_a_disk_with_sectors_of_4096_bytes(tmp_path: Path) -> None:
    require_loop_devices()
    image = tmp_path / "disk.img"
    image.write_bytes(bytes(32 * MIB))
    with loop_device(image, 4096) as device:
        subprocess.run(["sfdisk", "--quiet", device], input=GPT, text=True, check=True)
        assert facts(list_partitions(device)) == by_sfdisk(device)
        assert list_partitions(image) == list_partitions(device)


def test_an_mbr_with_logical_partitions_through_libparted(tmp_path: Path) -> None:
    require_module("parted")
    disk = make_disk(tmp_path / "mbr.img", MBR)
    found = list_partitions(disk)
    assert [(each.number, each.offset, each.uuid) for each in found] == [
        (1, MIB, f"{SIGNATURE}-01"),
        (2, 5 * MIB, f"{SIGNATURE}-02"),
        (5, 6 * MIB, f"{SIGNATURE}-05"),
        (6, 12 * MIB, f"{SIGNATURE}-06"),
    ]


def test_an_mbr_without_pyparted_has_its_primary_partitions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "_ped", None)
    monkeypatch.setitem(sys.modules, "parted", None)
    disk = make_disk(tmp_path / "mbr.img", MBR)
    assert list_partitions(disk) == (
        Partition(1, MIB, 4 * MIB, None, f"{SIGNATURE}-01"),
        Partition(2, 5 * MIB, 20 * MIB, None, f"{SIGNATURE}-02"),
    )


def test_libparted_sees_that_a_disk_has_grown(tmp_path: Path) -> None:
    require_module("parted")
    disk = tmp_path / "mbr.img"
    assert len(list_partitions(make_disk(disk, MBR))) == 4
    beyond = MBR.replace("size=20MiB", "size=50MiB") + "start=40MiB, size=4MiB, type=83\n"
    found = list_partitions(make_disk(disk, beyond, 64 * MIB))
    assert [each.offset // MIB for each in found] == [1, 5, 6, 12, 40]


def test_a_gpt_needs_no_pyparted(gpt: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refuse(
        name: str,
        globals: Mapping[str, object] | None = None,
        locals: Mapping[str, object] | None = None,
        fromlist: Sequence[str] = (),
        level: int = 0,
    ) -> Any:  # noqa: ANN401
        assert name not in ("parted", "_ped")
        return real(name, globals, locals, fromlist, level)

    monkeypatch.setattr(builtins, "__import__", refuse)
    assert len(list_partitions(gpt)) == 3


def test_a_first_table_whose_header_was_changed_is_not_believed(gpt: Path) -> None:
    before = list_partitions(gpt)
    data = bytearray(gpt.read_bytes())
    count, size = struct.unpack_from("<II", data, 512 + 80)
    data[1024 + size + 56 : 1024 + size + 58] = b"X\0"  # the label; its own checksum is right
    struct.pack_into("<I", data, 512 + 88, zlib.crc32(data[1024 : 1024 + count * size]))
    gpt.write_bytes(data)
    assert list_partitions(gpt) == before


@pytest.mark.parametrize(("first", "last"), [(2048, 2047), (1 << 63, 1), (0, 2047)])
def test_an_entry_of_no_sense_is_left_out_though_its_checksums_are_right(
    first: int, last: int, gpt: Path
) -> None:
    data = bytearray(gpt.read_bytes())
    count, size = struct.unpack_from("<II", data, 512 + 80)
    struct.pack_into("<QQ", data, 1024 + size + 32, first, last)
    struct.pack_into("<I", data, 512 + 88, zlib.crc32(data[1024 : 1024 + count * size]))
    struct.pack_into("<I", data, 512 + 16, 0)
    struct.pack_into("<I", data, 512 + 16, zlib.crc32(data[512 : 512 + 92]))
    gpt.write_bytes(data)
    assert [each.number for each in list_partitions(gpt)] == [1, 3]


def test_what_has_no_table_has_no_partitions(tmp_path: Path) -> None:
    path = tmp_path / "image"
    for data in (b"", bytes(MIB), b"\xff" * 4096, b"EFI PART" * 1000):
        path.write_bytes(data)
        assert list_partitions(path) == ()


@given(st.integers(0, 34 * 512 - 1), st.binary(min_size=1, max_size=16))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_no_damage_does_more_than_hide_partitions(gpt: Path, place: int, data: bytes) -> None:
    before = gpt.read_bytes()
    try:
        with gpt.open("r+b") as file:
            file.seek(place)
            file.write(data)
        assert len(list_partitions(gpt)) in (0, 1, 3)
    finally:
        gpt.write_bytes(before)

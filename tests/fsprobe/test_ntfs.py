# SPDX-License-Identifier: Apache-2.0
"""NTFS against mkntfs, ntfsinfo and blkid."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import pytest

from fsprobe import ProbeError, probe
from tests.fsprobe.agreement import agreed, found, grown
from tests.fsprobe.programs import blank, numbers, run

MIB = 1 << 20


@pytest.mark.parametrize(
    ("length", "sector", "cluster", "label"),
    [
        (2 * MIB, 512, 512, "tiny"),
        (8 * MIB + 512, 512, 4096, "größer"),
        (16 * MIB, 1024, 4096, ""),
        (64 * MIB, 4096, 65536, "large clusters"),
        (300 * MIB, 512, 131072, "over 64 KiB"),
    ],
)
def test_the_length_covers_the_backup_boot_sector(
    tmp_path: Path, length: int, sector: int, cluster: int, label: str
) -> None:
    image = blank(tmp_path / "image", length)
    run("mkntfs", "-q", "-F", "-s", str(sector), "-c", str(cluster), "-L", label, image)
    # blkid takes no NTFS with clusters above 64 KiB, and never tells the version.
    superblock = agreed(image, but=("VERSION",)) if cluster <= 65536 else found(image)
    assert superblock.label == (label or None)
    report = run("ntfsinfo", "-m", "-f", image)
    clusters, size = numbers(report, "Volume Size in Clusters", "Cluster Size")
    assert superblock.length is not None
    assert clusters * size <= superblock.length - sector < (clusters + 1) * size
    assert superblock.block_size == sector
    version = re.search(r"Volume Version: (\S+)", report)
    assert version is not None and superblock.version == version[1]
    with image.open("rb") as file:
        boot = file.read(512)
        file.seek(superblock.length - sector)
        assert file.read(512) == boot


def test_an_ntfs_in_a_larger_file_keeps_its_length(
    sample_images: dict[str, Path], tmp_path: Path
) -> None:
    image = tmp_path / "image"
    image.write_bytes(sample_images["ntfs"].read_bytes())
    assert found(grown(image)) == found(image)


def test_a_device_without_the_backup_sector_holds_the_file_system_alone(
    sample_images: dict[str, Path], tmp_path: Path
) -> None:
    raw = sample_images["ntfs"].read_bytes()
    image = tmp_path / "image"
    image.write_bytes(raw[:-512])
    assert found(image).length == len(raw) - 512
    image.write_bytes(raw[:-1024])
    with pytest.raises(ProbeError) as caught:
        probe(image)
    assert caught.value.code == "probe.truncated"


def test_ntfs_without_a_master_file_table_is_refused(
    sample_images: dict[str, Path], tmp_path: Path
) -> None:
    raw = bytearray(sample_images["ntfs"].read_bytes())
    raw[48] ^= 0x10
    image = tmp_path / "image"
    image.write_bytes(raw)
    with pytest.raises(ProbeError) as caught:
        probe(image)
    assert (caught.value.code, caught.value.kind) == ("probe.corrupt", "ntfs")


def test_a_file_record_that_the_volume_cuts_is_refused(
    sample_images: dict[str, Path], tmp_path: Path
) -> None:
    raw = bytearray(sample_images["ntfs"].read_bytes())
    sectors = len(raw) // 512 - 1
    raw[13], raw[64] = 1, 0xF6  # clusters of one sector, records of 1024 bytes
    struct.pack_into("<Q", raw, 48, sectors - 1 - 3 * 2)
    raw[(sectors - 1) * 512 :] = b"FILE" + bytes(508)
    image = tmp_path / "image"
    image.write_bytes(raw)
    with pytest.raises(ProbeError) as caught:
        probe(image)
    assert (caught.value.code, caught.value.kind) == ("probe.corrupt", "ntfs")

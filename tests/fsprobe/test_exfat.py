# SPDX-License-Identifier: Apache-2.0
"""exFAT against mkfs.exfat, dump.exfat and blkid."""

from __future__ import annotations

from pathlib import Path

import pytest

from fsprobe import ProbeError, probe
from tests.capabilities import require_loop_devices
from tests.fsprobe.agreement import agreed, found, grown
from tests.fsprobe.programs import blank, loop_device, numbers, run

MIB = 1 << 20


@pytest.mark.parametrize(
    ("length", "options"),
    [
        (3 * MIB, ["-b", "64K"]),
        (8 * MIB + 3 * 512, ["-c", "512", "-L", "odd"]),
        (64 * MIB, ["-c", "128K", "-b", "1M", "-L", "Größe"]),
        (300 * MIB, ["--pack-bitmap", "-L", "eleven char"]),
    ],
)
def test_every_layout_of_mkfs_is_as_long_as_dump_says(
    tmp_path: Path, length: int, options: list[str]
) -> None:
    image = blank(tmp_path / "image", length)
    run("mkfs.exfat", *options, image, env={"LC_ALL": "C.UTF-8"})
    superblock = agreed(image)
    sectors, bits = numbers(run("dump.exfat", image), "Volume Length(sectors)", "Sector Size Bits")
    assert superblock.length == sectors << bits
    assert superblock.block_size == 1 << bits


def test_an_exfat_in_a_larger_file_keeps_its_length(
    sample_images: dict[str, Path], tmp_path: Path
) -> None:
    image = tmp_path / "image"
    image.write_bytes(sample_images["exfat"].read_bytes())
    assert found(grown(image)) == found(image)


@pytest.mark.parametrize("offset", [72, 80, 92, 100, 108, 600])
def test_a_flipped_bit_in_the_boot_region_is_refused(
    sample_images: dict[str, Path], tmp_path: Path, offset: int
) -> None:
    raw = bytearray(sample_images["exfat"].read_bytes())
    raw[offset] ^= 1
    image = tmp_path / "image"
    image.write_bytes(raw)
    with pytest.raises(ProbeError) as caught:
        probe(image)
    assert (caught.value.code, caught.value.kind) == ("probe.corrupt", "exfat")


@pytest.mark.root
def test_on_a_device_with_sectors_of_4096_bytes(tmp_path: Path) -> None:
    require_loop_devices()
    with loop_device(blank(tmp_path / "image", 16 * MIB), 4096) as device:
        run("mkfs.exfat", "-L", "native", device)
        superblock = found(device)
    assert (superblock.length, superblock.block_size) == (16 * MIB, 4096)
    assert superblock.label == "native"

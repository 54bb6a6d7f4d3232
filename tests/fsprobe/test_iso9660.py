# SPDX-License-Identifier: Apache-2.0
"""ISO 9660 against genisoimage, xorriso, isoinfo and blkid."""

from __future__ import annotations

from pathlib import Path

import pytest

from fsprobe import ProbeError, probe
from tests.capabilities import require_tool
from tests.fsprobe.agreement import agreed, found, grown
from tests.fsprobe.container_images import tree
from tests.fsprobe.programs import blank, numbers, run

MIB = 1 << 20
ISOLINUX = Path("/usr/lib/ISOLINUX")


def volume_length(image: Path) -> int:
    blocks, size = numbers(
        run("isoinfo", "-d", "-i", image), "Volume size is", "Logical block size is"
    )
    return blocks * size


@pytest.mark.parametrize(
    "options",
    [
        "-V PLAIN",
        "-J -R -V A_LABEL_OF_MORE_THAN_SIXTEEN",
        "-J -joliet-long -no-pad -V Mixed",
        "-iso-level 4 -r",
    ],
)
def test_genisoimage_is_as_long_as_isoinfo_says(tmp_path: Path, options: str) -> None:
    image = tmp_path / "image"
    run("genisoimage", "-quiet", *options.split(), "-o", image, tree(tmp_path))
    superblock = agreed(image)
    assert superblock.length == volume_length(image)
    assert found(grown(image)) == superblock


def test_xorriso_is_as_long_as_isoinfo_says(tmp_path: Path) -> None:
    image = tmp_path / "image"
    run("xorriso", "-as", "mkisofs", "-quiet", "-V", "XORRISO", "-o", image, tree(tmp_path))
    superblock = agreed(image)
    assert superblock.length == volume_length(image) == image.stat().st_size


@pytest.mark.parametrize("as_gpt", [False, True])
def test_a_partition_after_the_volume_belongs_to_the_image(tmp_path: Path, as_gpt: bool) -> None:
    image = tmp_path / "image"
    efi = blank(tmp_path / "efi", MIB)
    run("mkfs.fat", efi)
    options = ["-append_partition", "2", "0xef", str(efi)]
    if as_gpt:
        options.append("-appended_part_as_gpt")
    run(
        "xorriso", "-as", "mkisofs", "-quiet", "-V", "HYBRID", *options, "-o", image, tree(tmp_path)
    )
    superblock = agreed(image)
    end = image.read_bytes().rindex(efi.read_bytes()) + MIB
    assert volume_length(image) < end
    # A GPT ends in its backup header, in the last sector.
    assert superblock.length == (image.stat().st_size if as_gpt else end)
    assert found(grown(image)).length == superblock.length


def test_an_isohybrid_image_is_iso9660(tmp_path: Path) -> None:
    require_tool("xorriso")
    if not (ISOLINUX / "isohdpfx.bin").exists():
        pytest.skip("missing: isolinux")
    folder, image = tree(tmp_path), tmp_path / "image"
    (folder / "isolinux.bin").write_bytes((ISOLINUX / "isolinux.bin").read_bytes())
    boot = "-c boot.cat -b isolinux.bin -no-emul-boot -boot-load-size 4 -boot-info-table"
    hybrid = ("-isohybrid-mbr", ISOLINUX / "isohdpfx.bin", "-partition_offset", "16")
    run("xorriso", "-as", "mkisofs", "-quiet", *boot.split(), *hybrid, "-o", image, folder)
    superblock = agreed(image)
    assert superblock.length == image.stat().st_size


def test_a_difference_of_the_byte_orders_is_refused(
    sample_images: dict[str, Path], tmp_path: Path
) -> None:
    raw = bytearray(sample_images["iso9660"].read_bytes())
    raw[32768 + 80] ^= 4
    image = tmp_path / "image"
    image.write_bytes(raw)
    with pytest.raises(ProbeError) as caught:
        probe(image)
    assert (caught.value.code, caught.value.kind) == ("probe.corrupt", "iso9660")

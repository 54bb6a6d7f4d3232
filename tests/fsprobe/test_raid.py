# SPDX-License-Identifier: Apache-2.0
"""Software RAID by hand against mdadm and blkid; DRBD against drbdmeta and blkid."""

from __future__ import annotations

from pathlib import Path

import pytest

from fsprobe import ProbeError, probe
from tests.capabilities import require_loop_devices
from tests.fsprobe import crafted_containers as crafted
from tests.fsprobe.agreement import agreed, found
from tests.fsprobe.programs import blank, loop_device, run

MIB = 1 << 20
CRAFTED = {
    "0.90": crafted.md_0(),
    "1.0": crafted.md_1("1.0"),
    "1.1": crafted.md_1("1.1"),
    "1.2": crafted.md_1("1.2"),
}


@pytest.mark.parametrize("version", CRAFTED)
def test_a_crafted_member_agrees_with_mdadm_and_blkid(tmp_path: Path, version: str) -> None:
    image = tmp_path / "image"
    image.write_bytes(CRAFTED[version])
    superblock = agreed(image)
    report = run("mdadm", "--examine", image)
    assert "correct" in report and f"Version : {version}" in report
    assert superblock.kind == "linux_raid_member"
    assert superblock.label == (None if version == "0.90" else "crafted")


def test_a_big_endian_member_is_known(tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.write_bytes(crafted.md_0(">"))
    assert agreed(image).version == "0.90.0"


@pytest.mark.parametrize("version", ["1.0", "1.1", "1.2"])
def test_a_wrong_checksum_is_refused(tmp_path: Path, version: str) -> None:
    raw = bytearray(CRAFTED[version])
    raw[raw.index(b"crafted")] ^= 1
    image = tmp_path / "image"
    image.write_bytes(raw)
    with pytest.raises(ProbeError) as caught:
        probe(image)
    assert (caught.value.code, caught.value.kind) == ("probe.corrupt", "linux_raid_member")


@pytest.mark.parametrize("version", ["0.90", "1.0"])
def test_a_mirror_member_outranks_the_file_system_it_mirrors(
    sample_images: dict[str, Path], tmp_path: Path, version: str
) -> None:
    small = sample_images["ext2"].read_bytes()
    image = tmp_path / "image"
    image.write_bytes(small + CRAFTED[version][len(small) :])
    assert found(image).kind == "linux_raid_member"


@pytest.mark.parametrize("table", ["dos", "gpt"])
def test_a_superblock_inside_of_the_last_partition_is_not_the_disks(
    tmp_path: Path, table: str
) -> None:
    """Both ends are multiples of 64 KiB, so that the place is right for disk and partition."""
    length = 2 * MIB
    image = blank(tmp_path / "image", length)
    end = length // 512 - (0 if table == "dos" else 34)
    run("sfdisk", "-q", image, stdin=f"label: {table}\n64,{end - 64}\n")
    expected = found(image)
    with image.open("r+b") as file:
        file.seek(length - 65536)
        file.write(crafted.md_0()[-65536:][:4096])
    assert found(image) == expected
    assert expected.kind == table


@pytest.mark.parametrize("version", [8, 9])
def test_crafted_drbd_agrees_with_blkid(tmp_path: Path, version: int) -> None:
    image = tmp_path / "image"
    image.write_bytes(crafted.drbd(version))
    superblock = agreed(image)
    assert superblock.kind == "drbd"
    assert superblock.length == 2 * MIB


@pytest.mark.root
@pytest.mark.parametrize("version", ["v08", "v09"])
def test_drbd_metadata_made_by_its_tool_agrees_with_blkid(tmp_path: Path, version: str) -> None:
    require_loop_devices()
    image = blank(tmp_path / "image", 64 * MIB)
    with loop_device(image, 512) as device:
        peers = ["1"] if version == "v09" else []
        run("drbdmeta", "--force", "0", version, device, "internal", "create-md", *peers)
    # blkid prints a UUID of zero; ours is None.
    assert agreed(image, but=("UUID",)).version == version

# SPDX-License-Identifier: Apache-2.0
"""Sources that can be probed, and which of several claims holds."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

import fsprobe
from fsprobe import ProbeError, Superblock, probe
from fsprobe.device import READ_BUDGET, BudgetExceeded, Device
from fsprobe.formats import FORMATS
from tests.fsprobe.programs import blank, run

MIB = 1 << 20

Format = Callable[[Device], Superblock | None]


def claims(kind: str, length: int | None = 4096, *, weak: bool = False) -> Format:
    return lambda _: Superblock(kind, length, weak=weak)


def refuses(kind: str, code: str = "corrupt") -> Format:
    def ask(_: Device) -> Superblock | None:
        raise ProbeError(code, kind, "broken")

    return ask


@pytest.fixture
def settle(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Superblock | None]:
    """Probe a blank device of 1 MiB with formats that are given instead of the real ones."""
    image = blank(tmp_path / "image", MIB)

    def settled(*formats: Format) -> Superblock | None:
        monkeypatch.setattr("fsprobe.formats.FORMATS", formats)
        return probe(image)

    return settled


Settle = Callable[..., Superblock | None]


def kind_of(found: Superblock | None) -> str | None:
    return None if found is None else found.kind


def refused(settle: Settle, *formats: Format) -> tuple[str, str]:
    with pytest.raises(ProbeError) as error:
        settle(*formats)
    return error.value.code, error.value.kind


def test_nothing_is_none(settle: Settle) -> None:
    assert settle(lambda _: None) is None


def test_a_whole_claim_beats_broken_ones(settle: Settle) -> None:
    formats = refuses("btrfs"), claims("ext4"), refuses("xfs", "truncated")
    assert kind_of(settle(*formats)) == "ext4"


def test_a_weak_claim_gives_way_to_a_strong_one(settle: Settle) -> None:
    assert kind_of(settle(claims("minix", weak=True), claims("ext4"))) == "ext4"


def test_a_weak_claim_gives_way_to_a_broken_one(settle: Settle) -> None:
    assert refused(settle, claims("minix", weak=True), refuses("ext4")) == (
        "probe.corrupt",
        "ext4",
    )


def test_a_weak_claim_alone_holds(settle: Settle) -> None:
    assert kind_of(settle(claims("minix", weak=True))) == "minix"


def test_two_whole_claims_are_ambiguous(settle: Settle) -> None:
    assert refused(settle, claims("btrfs"), claims("squashfs")) == ("probe.ambiguous", "btrfs")


def test_two_weak_claims_are_ambiguous(settle: Settle) -> None:
    weak = claims("minix", weak=True), claims("swap", weak=True)
    assert refused(settle, *weak) == ("probe.ambiguous", "minix")


def test_a_claim_beyond_the_device_is_truncated(settle: Settle) -> None:
    assert kind_of(settle(claims("ext4", MIB))) == "ext4"
    assert refused(settle, claims("ext4", MIB + 1)) == ("probe.truncated", "ext4")


def test_a_claim_on_nothing_is_corrupt(settle: Settle) -> None:
    assert refused(settle, claims("ext4", 0)) == ("probe.corrupt", "ext4")


def test_a_truncated_superblock_is_told_before_a_corrupt_one(settle: Settle) -> None:
    formats = refuses("btrfs"), claims("ext4", 2 * MIB), refuses("xfs")
    assert refused(settle, *formats) == ("probe.truncated", "ext4")


@pytest.mark.parametrize("around", ["dos", "gpt", "udf"])
def test_a_hybrid_image_is_iso9660_and_as_long_as_the_longer_one(
    around: str, settle: Settle
) -> None:
    for weak in (False, True):
        found = settle(claims(around, 8192, weak=weak), claims("iso9660", 4096))
        assert (kind_of(found), found and found.length) == ("iso9660", 8192)
        found = settle(claims(around, None, weak=weak), claims("iso9660", 4096))
        assert (kind_of(found), found and found.length) == ("iso9660", 4096)


def test_a_file_system_beside_iso9660_is_ambiguous(settle: Settle) -> None:
    formats = claims("ext4"), claims("iso9660"), claims("gpt")
    assert refused(settle, *formats)[0] == "probe.ambiguous"


def test_a_mirror_member_shows_the_file_system_that_it_mirrors(settle: Settle) -> None:
    formats = claims("ext4"), claims("linux_raid_member", MIB)
    assert kind_of(settle(*formats)) == "linux_raid_member"


def test_a_format_that_reads_too_much_is_corrupt(settle: Settle) -> None:
    def greedy(device: Device) -> Superblock | None:
        while True:
            device.read(0, MIB)

    assert refused(settle, greedy)[0] == "probe.corrupt"
    assert kind_of(settle(greedy, claims("ext4"))) == "ext4"


def test_real_superblocks_of_two_kinds_are_ambiguous(sample_images: dict[str, Path]) -> None:
    """Of btrfs nothing lies in the 64 KiB, where squashfs begins."""
    squashfs = sample_images["squashfs"].read_bytes()[: 64 << 10]
    image = os.memfd_create("image")
    os.write(image, sample_images["btrfs"].read_bytes())
    os.pwrite(image, squashfs, 0)
    with pytest.raises(ProbeError) as error:
        probe(image)
    os.close(image)
    assert error.value.code == "probe.ambiguous"


def test_boot_code_before_ext4_is_still_ext4(sample_images: dict[str, Path]) -> None:
    """A boot sector with its 0x55AA, as extlinux writes it into the first KiB."""
    image = os.memfd_create("image")
    os.write(image, sample_images["ext4"].read_bytes())
    before = probe(image)
    os.pwrite(image, b"\xeb\x58\x90EXTLINUX" + bytes(range(256)), 0)
    os.pwrite(image, b"\x55\xaa", 510)
    assert before is not None
    assert probe(image) == before
    os.close(image)


def test_a_damaged_btrfs_superblock_is_replaced_by_its_mirror(tmp_path: Path) -> None:
    image = blank(tmp_path / "image", 128 * MIB)
    run("mkfs.btrfs", "-q", "-L", "data", image)
    before = probe(image)
    assert before is not None
    with image.open("r+b") as file:
        file.seek((64 << 10) + 0x80)
        file.write(b"\xff")
        file.flush()
        assert probe(image) == before
        file.seek((64 << 20) + 0x80)
        file.write(b"\xff")
    with pytest.raises(ProbeError) as error:
        probe(image)
    assert (error.value.code, error.value.kind) == ("probe.corrupt", "btrfs")


def test_the_mirror_of_an_older_btrfs_does_not_stand_in(tmp_path: Path) -> None:
    older, image = blank(tmp_path / "older", 128 * MIB), blank(tmp_path / "image", 128 * MIB)
    for each in (older, image):
        run("mkfs.btrfs", "-q", each)
    with older.open("rb") as source, image.open("r+b") as file:
        mirror = os.pread(source.fileno(), 4096, 64 << 20)
        os.pwrite(file.fileno(), mirror, 64 << 20)
        os.pwrite(file.fileno(), b"\xff", (64 << 10) + 0x80)
    with pytest.raises(ProbeError) as error:
        probe(image)
    assert error.value.code == "probe.corrupt"


def test_a_btrfs_mirror_alone_is_the_rest_of_an_older_file_system(tmp_path: Path) -> None:
    image = blank(tmp_path / "image", 128 * MIB)
    run("mkfs.btrfs", "-q", image)
    with image.open("r+b") as file:
        file.write(bytes(MIB))
    assert probe(image) is None


@pytest.mark.parametrize("name", ["f2fs", "nilfs2"])
def test_the_second_superblock_stands_in_for_the_first(
    name: str, sample_images: dict[str, Path]
) -> None:
    image = os.memfd_create("image")
    os.write(image, sample_images[name].read_bytes())
    before = probe(image)
    assert before is not None
    assert not before.weak
    os.pwrite(image, b"\xff", 1024 + 40)
    assert probe(image) == before
    os.pwrite(image, bytes(1024), 1024)
    found = probe(image)
    os.close(image)
    assert found is not None
    assert found.weak
    assert (found.kind, found.length, found.uuid) == (name, before.length, before.uuid)


def test_a_path_a_descriptor_and_a_text_path_give_the_same(
    sample_images: dict[str, Path],
) -> None:
    image = sample_images["ext4"]
    with image.open("rb") as file:
        file.seek(100)
        found = probe(file.fileno())
        assert file.tell() == 100
    assert found == probe(image) == probe(str(image))


def test_what_is_neither_file_nor_block_device_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path, tmp_path / "fifo", Path("/dev/null"), tmp_path / "missing"):
        with pytest.raises(OSError, match=r"neither a regular file|No such file"):
            probe(path)
    with pytest.raises(OSError, match="Bad file descriptor"):
        probe(-1)


def test_a_descriptor_that_cannot_be_read_is_an_oserror(tmp_path: Path) -> None:
    with (
        blank(tmp_path / "image", MIB).open("ab") as file,
        pytest.raises(OSError, match="Bad file descriptor"),
    ):
        probe(file.fileno())


def test_a_device_reads_within_itself_and_within_its_budget(tmp_path: Path) -> None:
    with blank(tmp_path / "image", 4 * MIB).open("rb") as file:
        device = Device(file.fileno())
        assert (device.length, device.sector_size) == (4 * MIB, None)
        assert len(device.read(4 * MIB - 10, 100)) == 10
        for offset, length in ((4 * MIB, 1), (1 << 70, 512), (-1, 512), (0, 0), (0, -1)):
            assert device.read(offset, length) == b""
        device.read(0, READ_BUDGET - 10)
        with pytest.raises(BudgetExceeded):
            device.read(0, 1)


def test_every_format_is_asked_once() -> None:
    assert len(set(FORMATS)) == len(FORMATS)


def test_the_package_gives_three_names() -> None:
    assert sorted(fsprobe.__all__) == ["ProbeError", "Superblock", "probe"]


def test_a_region_is_a_device_of_its_own(tmp_path: Path) -> None:
    disk = blank(tmp_path / "disk", 8 * MIB)
    run("mkfs.ext4", "-q", "-F", "-E", f"offset={MIB}", str(disk), "2M")
    assert probe(disk) is None
    found = probe(disk, MIB, 4 * MIB)
    assert found is not None
    assert (found.kind, found.length) == ("ext4", 2 * MIB)
    with pytest.raises(ProbeError) as error:
        probe(disk, MIB, MIB)
    assert error.value.code == "probe.truncated"
    assert probe(disk, 9 * MIB) is None

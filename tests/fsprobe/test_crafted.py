# SPDX-License-Identifier: Apache-2.0
"""Variants that no program here makes: superblocks written by hand, or real ones changed."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from fsprobe import ProbeError, Superblock, probe
from fsprobe.checksum import ONES, crc32, crc32c
from tests.fsprobe import crafted
from tests.fsprobe.programs import blank, run

MIB = 1 << 20


def probed(raw: bytes, length: int | None = None) -> Superblock | None:
    fd = os.memfd_create("image")
    try:
        os.write(fd, raw)
        if length is not None:
            os.truncate(fd, length)
        return probe(fd)
    finally:
        os.close(fd)


def test_crc32c_of_rfc_3720() -> None:
    """Appendix B.4: 32 bytes of zeros, of ones, ascending, descending."""
    for data, expected in (
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        (bytes(range(31, -1, -1)), 0x113FDB5C),
        (b"123456789", 0xE3069283),
    ):
        assert crc32c(data) ^ ONES == expected
    assert crc32c(b"6789", crc32c(b"12345")) ^ ONES == 0xE3069283


def test_crc32_is_that_of_zlib_without_the_inversions() -> None:
    assert crc32(b"123456789", ONES) ^ ONES == 0xCBF43926
    assert crc32(b"", 5) == 5


def test_bcachefs() -> None:
    assert probed(crafted.bcachefs(buckets=100, bucket_sectors=512), 64 * MIB) == Superblock(
        kind="bcachefs",
        length=100 * 512 * 512,
        block_size=4096,
        label="crafted",
        uuid=crafted.UUID_TEXT,
        version="1028",
    )


def test_bcachefs_with_members_of_version_1_alone() -> None:
    found = probed(crafted.bcachefs(members_field=1))
    assert found is not None
    assert found.length == 128 * 256 * 512


def test_bcachefs_reaches_to_the_end_of_its_last_superblock_copy() -> None:
    """The copy at the end of the device lies behind the last whole bucket."""
    found = probed(crafted.bcachefs(copies_at=128 * 256 + 40), 32 * MIB)
    assert found is not None
    assert found.length == (128 * 256 + 40 + 8) * 512


def test_zonefs_records_no_length() -> None:
    assert probed(crafted.zonefs()) == Superblock(
        "zonefs", None, label="zones", uuid=crafted.UUID_TEXT
    )


def test_swap_of_a_big_endian_machine_with_pages_of_16_kib() -> None:
    assert probed(crafted.swap_big_endian(), 2 * MIB) == Superblock(
        "swap", MIB, 16384, label="big", uuid=crafted.UUID_TEXT, version="1"
    )


def test_swap_that_holds_a_suspended_machine() -> None:
    for signature in (b"S1SUSPEND\0", b"S2SUSPEND\0", b"ULSUSPEND\0", b"LINHIB0001"):
        found = probed(crafted.swap_big_endian(signature))
        assert found is not None
        assert (found.kind, found.length) == ("swsuspend", MIB)


def test_swap_of_the_old_kind_records_no_length() -> None:
    raw = bytearray(MIB)
    raw[4086:4096] = b"SWAP-SPACE"
    assert probed(bytes(raw)) == Superblock("swap", None, 4096, version="0", weak=True)


@pytest.mark.parametrize("options", ["-1 -n 14", "-1 -n 30", "-2 -n 14", "-2 -n 30", "-3"])
def test_minix_of_a_big_endian_machine(options: str, tmp_path: Path) -> None:
    image = blank(tmp_path / "image", 4 * MIB)
    run("mkfs.minix", *options.split(), image)
    real = image.read_bytes()
    assert probed(crafted.minix_big_endian(real)) == probe(image)
    assert probed(crafted.minix_big_endian(real)[:8192], 4 * MIB) == probe(image)


def test_erofs_of_48_bits(sample_images: dict[str, Path]) -> None:
    real = sample_images["erofs"].read_bytes()
    plain = probe(sample_images["erofs"])
    assert plain is not None
    assert plain.length is not None
    found = probed(crafted.erofs_48bit(real, blocks_hi=3), 1 << 46)
    assert found is not None
    assert found.length == plain.length + (3 << 32) * 4096


@pytest.mark.parametrize(
    ("order", "version"), [("<", (3, 1)), (">", (3, 1)), ("<", (2, 0)), (">", (1, 0))]
)
def test_squashfs_before_4_tells_its_kind_alone(order: str, version: tuple[int, int]) -> None:
    raw = struct.pack(f"{order}I24xHH64x", 0x73717368, *version)
    assert probed(raw, MIB) == Superblock("squashfs3", None, version=f"{version[0]}.{version[1]}")


Change = Callable[[bytearray], None]


def at(offset: int, data: bytes) -> Change:
    def change(raw: bytearray) -> None:
        raw[offset : offset + len(data)] = data

    return change


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("ext4", at(1024 + 0x3FC, b"\0\0\0\0")),
        ("ext2", at(1024 + 24, b"\x07")),
        ("ext2", at(1024 + 4, b"\0\0\0\0")),
        ("ext2", at(1024 + 32, b"\0\0\0\0")),
        ("ext2", at(1024 + 0, b"\xff\xff")),
        ("squashfs", at(12, b"\0\0\0\1")),
        ("squashfs", at(20, b"\7\0")),
        ("squashfs", at(28, b"\5\0")),
        ("squashfs", at(40, b"\x70\0\0\0\0\0\0\0")),
        ("squashfs", at(64, b"\xff" * 8)),
        ("erofs", at(1024 + 4, b"\0\0\0\0")),
        ("erofs", at(1024 + 12, b"\x20")),
        ("btrfs", at((64 << 10) + 0x80, b"\xff")),
        ("btrfs", at((64 << 10) + 0xC4, b"\x09")),
        ("xfs", at(224, b"\0\0\0\0")),
        ("xfs4", at(84, b"\0\0\0\0")),
        ("xfs4", at(101, b"\xb3")),
        ("xfs4", at(126, b"\1")),
        ("xfs4", at(122, b"\1")),
        ("cramfs", at(16, b"compressed")),
        ("romfs", at(12, b"\0\0\0\0")),
        ("minix", at(1024 + 28, b"\0\0")),
        ("minix", at(1024 + 6, b"\0\0")),
        ("jfs", at((32 << 10) + 16, b"\0\0\0\0")),
        ("zonefs", at(4, b"\0\0\0\0")),
        ("swap", at(1024, b"\2")),
        ("swap", at(1028, b"\0\0\0\0")),
        ("swap", at(1032, b"\xff\xff")),
        ("bcachefs", at(4096, b"\0\0\0\0")),
        ("bcachefs", at(4096 + 122, b"\5")),
        ("hash_device", at(8, b"\2")),
        ("hash_device", at(32, b"nonsense")),
        ("hash_device", at(64, b"\1\1\0\0")),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_field_that_cannot_be_is_corrupt(
    name: str, change: Change, sample_images: dict[str, Path]
) -> None:
    with sample_images[name].open("rb") as file:
        raw = bytearray(file.read(256 << 10))
    change(raw)
    with pytest.raises(ProbeError) as error:
        probed(bytes(raw), sample_images[name].stat().st_size)
    assert error.value.code == "probe.corrupt"


@pytest.mark.parametrize("copies", [1, 2])
def test_f2fs_is_corrupt_when_both_copies_are(copies: int, sample_images: dict[str, Path]) -> None:
    with sample_images["f2fs"].open("rb") as file:
        raw = bytearray(file.read(64 << 10))
    for offset in (1024, 4096 + 1024)[:copies]:
        raw[offset + 100] ^= 1  # root inode: only the checksum tells
    if copies == 1:
        assert probed(bytes(raw), 64 * MIB) == probe(sample_images["f2fs"])
    else:
        with pytest.raises(ProbeError) as error:
            probed(bytes(raw), 64 * MIB)
        assert error.value.code == "probe.corrupt"


def test_nilfs2_is_corrupt_when_both_copies_are(sample_images: dict[str, Path]) -> None:
    """In the image alone the backup is at the device's end; in a longer device it is not found."""
    raw = bytearray(sample_images["nilfs2"].read_bytes()[: 64 << 10])
    raw[1024 + 80] ^= 1
    with pytest.raises(ProbeError) as error:
        probed(bytes(raw), 136 * MIB)
    assert (error.value.code, error.value.kind) == ("probe.corrupt", "nilfs2")

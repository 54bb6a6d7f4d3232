# SPDX-License-Identifier: Apache-2.0
"""LUKS against cryptsetup and blkid; BitLocker by hand against blkid."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import pytest

from fsprobe import ProbeError, probe
from tests.fsprobe import crafted_containers as crafted
from tests.fsprobe.agreement import agreed, found
from tests.fsprobe.container_images import luks
from tests.fsprobe.programs import blank, run

MIB = 1 << 20
SMALL = ("--luks2-keyslots-size", "512k")


def rewritten(image: Path, change: dict[str, str]) -> None:
    """Change fields of the first segment and make the checksum right again."""
    raw = bytearray(image.read_bytes())
    size = int.from_bytes(raw[8:16], "big")
    metadata = json.loads(raw[4096:size].split(b"\0", 1)[0])
    metadata["segments"]["0"] |= change
    raw[4096:size] = json.dumps(metadata).encode().ljust(size - 4096, b"\0")
    raw[448:512] = bytes(64)
    raw[448:480] = hashlib.sha256(raw[:size]).digest()
    image.write_bytes(raw)


@pytest.mark.parametrize(
    ("version", "options"),
    [
        ("luks1", ()),
        ("luks2", SMALL),
        ("luks2", (*SMALL, "--label", "vault", "--sector-size", "4096")),
        ("luks2", (*SMALL, "--luks2-metadata-size", "64k", "--label", "vault")),
    ],
)
def test_a_container_agrees_with_cryptsetup_and_has_no_length(
    tmp_path: Path, version: str, options: tuple[str, ...]
) -> None:
    image = luks(blank(tmp_path / "image", 8 * MIB), version, *options)
    superblock = agreed(image)
    dump = run("cryptsetup", "luksDump", image)
    uuid = re.search(r"UUID:\s+(\S+)", dump)
    assert uuid is not None and superblock.uuid == uuid[1]
    assert superblock.length is None
    sector = re.search(r"sector: (\d+) \[bytes\]", dump)
    assert superblock.block_size == (int(sector[1]) if sector else None)


def test_a_header_of_four_mebibytes_is_known(tmp_path: Path) -> None:
    options = ("--luks2-metadata-size", "4m", "--luks2-keyslots-size", "512k", "--label", "big")
    image = luks(blank(tmp_path / "image", 20 * MIB), "luks2", *options)
    assert agreed(image).label == "big"


def test_a_fixed_segment_gives_the_length(sample_images: dict[str, Path], tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.write_bytes(sample_images["luks2"].read_bytes())
    rewritten(image, {"offset": "1048576", "size": "2097152"})
    assert found(image).length == 3 * MIB


@pytest.mark.parametrize(
    "change", [{"size": "x"}, {"size": "1" * 5000}, {"size": "18446744073709551616"}]
)
def test_a_segment_that_cannot_be_is_refused(
    sample_images: dict[str, Path], tmp_path: Path, change: dict[str, str]
) -> None:
    image = tmp_path / "image"
    image.write_bytes(sample_images["luks2"].read_bytes())
    rewritten(image, change)
    with pytest.raises(ProbeError):
        probe(image)


@pytest.mark.parametrize("text", [b"[" * 10000, b"[]", b'{"segments": 1}', b"\xff", b""])
def test_metadata_that_cannot_be_read_is_refused(
    sample_images: dict[str, Path], tmp_path: Path, text: bytes
) -> None:
    raw = bytearray(sample_images["luks2"].read_bytes())
    raw[4096:16384] = text.ljust(12288, b"\0")
    raw[448:512] = bytes(64)
    raw[448:480] = hashlib.sha256(raw[:16384]).digest()
    image = tmp_path / "image"
    image.write_bytes(raw)
    with pytest.raises(ProbeError) as caught:
        probe(image)
    assert (caught.value.code, caught.value.kind) == ("probe.corrupt", "crypto_LUKS")


def test_a_wrong_header_checksum_is_refused(sample_images: dict[str, Path], tmp_path: Path) -> None:
    raw = bytearray(sample_images["luks2"].read_bytes())
    raw[5000] ^= 1
    image = tmp_path / "image"
    image.write_bytes(raw)
    with pytest.raises(ProbeError):
        probe(image)


def test_crafted_bitlocker_agrees_with_blkid(tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.write_bytes(crafted.bitlocker())
    assert agreed(image).kind == "BitLocker"

# SPDX-License-Identifier: Apache-2.0
"""LVM2 and bcache against their tools and blkid; ZFS and VMFS by hand against blkid."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from fsprobe import ProbeError, probe
from tests.capabilities import require_loop_devices
from tests.fsprobe import crafted_containers as crafted
from tests.fsprobe.agreement import agreed, found
from tests.fsprobe.programs import blank, loop_device, run

MIB = 1 << 20
LVM = 'devices { scan = "/dev" use_devicesfile = 0 } global { locking_type = 1 }'


@pytest.mark.root
@pytest.mark.parametrize("sector", [0, 1, 3])
def test_a_physical_volume_agrees_with_lvm_and_blkid(tmp_path: Path, sector: int) -> None:
    require_loop_devices()
    image = blank(tmp_path / "image", 32 * MIB)
    env = {"LVM_SUPPRESS_FD_WARNINGS": "1"}
    with loop_device(image, 512) as device:
        run("pvcreate", "--config", LVM, "--labelsector", str(sector), "-y", device, env=env)
        shown = run("pvs", "--config", LVM, "--noheadings", "-o", "pv_uuid", device, env=env)
    superblock = agreed(image)
    assert superblock.uuid == re.sub(r"\s", "", shown)
    assert superblock.length == 32 * MIB


def test_a_crafted_volume_agrees_with_blkid_and_needs_its_checksum(tmp_path: Path) -> None:
    raw = bytearray(crafted.lvm())
    image = tmp_path / "image"
    image.write_bytes(raw)
    assert agreed(image).length == 4 * MIB
    raw[512 + 40] ^= 1
    image.write_bytes(raw)
    with pytest.raises(ProbeError) as caught:
        probe(image)
    assert (caught.value.code, caught.value.kind) == ("probe.corrupt", "LVM2_member")


def test_a_volume_that_was_cut_short_is_refused(tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.write_bytes(crafted.lvm()[: 2 * MIB])
    with pytest.raises(ProbeError) as caught:
        probe(image)
    assert (caught.value.code, caught.value.kind) == ("probe.truncated", "LVM2_member")


@pytest.mark.parametrize(("option", "length"), [("-B", 4 * MIB), ("-C", 128 * MIB)])
def test_bcache_agrees_with_its_tool_and_blkid(tmp_path: Path, option: str, length: int) -> None:
    image = blank(tmp_path / "image", length)
    made = run("make-bcache", option, image)
    uuid = re.search(r"^UUID:\s+(\S+)", made, re.MULTILINE)
    superblock = agreed(image, but=("VERSION",))  # blkid does not tell it
    assert uuid is not None and superblock.uuid == uuid[1]
    assert f"version:\t\t{superblock.version}" in made


@pytest.mark.parametrize("order", ["<", ">"])
def test_crafted_zfs_agrees_with_blkid(tmp_path: Path, order: str) -> None:
    image = tmp_path / "image"
    image.write_bytes(crafted.zfs(order))
    superblock = agreed(image)
    assert (superblock.kind, superblock.label, superblock.version) == ("zfs_member", "tank", "5000")


def test_zfs_without_any_transaction_is_unknown(tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.write_bytes(crafted.zfs().replace((0x00BAB10C).to_bytes(8, "little"), bytes(8)))
    assert probe(image) is None


@pytest.mark.parametrize("craft", [crafted.vmfs, crafted.vmfs_volume])
def test_crafted_vmfs_agrees_with_blkid(tmp_path: Path, craft: object) -> None:
    assert callable(craft)
    image = tmp_path / "image"
    image.write_bytes(craft())
    assert agreed(image).length is None
    assert found(image).kind.startswith("VMFS")

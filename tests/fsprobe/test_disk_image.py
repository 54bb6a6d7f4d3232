# SPDX-License-Identifier: Apache-2.0
"""Virtual disks against qemu-img."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.fsprobe.agreement import found
from tests.fsprobe.programs import run


@pytest.mark.parametrize(
    ("made_as", "kind"),
    [("qcow2", "qcow2"), ("vdi", "vdi"), ("vmdk", "vmdk"), ("vhdx", "vhdx"), ("vpc", "vhd")],
)
def test_every_container_is_told_by_its_kind(tmp_path: Path, made_as: str, kind: str) -> None:
    image = tmp_path / "image"
    run("qemu-img", "create", "-q", "-f", made_as, image, "8M")
    assert json.loads(run("qemu-img", "info", "--output=json", image))["format"] == made_as
    superblock = found(image)
    assert (superblock.kind, superblock.length) == (kind, None)
    assert superblock.version == {"qcow2": "3", "vmdk": "1"}.get(kind)

# SPDX-License-Identifier: Apache-2.0
"""Compare the probe with blkid(8) and put images inside of larger files."""

from __future__ import annotations

import re
from pathlib import Path

from fsprobe import Superblock, probe
from tests.fsprobe.programs import blkid


def found(path: Path) -> Superblock:
    """Probe an image that has to be known."""
    superblock = probe(path)
    assert superblock is not None, path
    return superblock


def blkid_values(path: Path) -> dict[str, str]:
    """Return what blkid says, without the backslashes it prints before special characters."""
    return {key: re.sub(r"\\(.)", r"\1", value) for key, value in blkid(path).items()}


def agreed(path: Path, *, but: tuple[str, ...] = ()) -> Superblock:
    """Probe an image and hold kind, label, UUID and version against blkid, except for `but`."""
    superblock, values = found(path), blkid_values(path)
    ours = {
        "TYPE": superblock.kind,
        "LABEL": superblock.label,
        "UUID": superblock.uuid,
        "VERSION": superblock.version,
    }
    expected = {name: values.get(name) for name in ours}
    for name in but:
        del ours[name], expected[name]
    assert ours == expected
    return superblock


def grown(path: Path, extra: int = 3 << 20) -> Path:
    """Copy an image into a file that is longer by `extra` bytes of 0xA5."""
    larger = path.with_name(path.name + ".grown")
    larger.write_bytes(path.read_bytes() + b"\xa5" * extra)
    return larger

# SPDX-License-Identifier: Apache-2.0
"""The fuzzer finds what was broken on purpose, in a copy of the tree: its targets can fail."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.fuzz.running import ROOT, run_fuzzer

COPIED = ("boot", "fsprobe", "images", "updater", "tests/fuzz", "tests/fsprobe/footprint.py")
MOST_RUNS = 60_000


@dataclass(frozen=True, slots=True)
class Planted:
    """A defect: one piece of one file, replaced."""

    target: str
    file: str
    right: str
    wrong: str


DEFECTS = (
    Planted(
        "chunk",
        "images/compression.py",
        "if len(piece) > left:",
        "if len(piece) > left + 1:",
    ),
    Planted(
        "http_request",
        "images/http_message.py",
        "min(int(match[2]) + 1, length)",
        "int(match[2]) + 1",
    ),
    Planted(
        "names",
        "images/chunkfile.py",
        '_NAME = re.compile(r"[0-9a-f]{64}")',
        '_NAME = re.compile(r"[0-9a-fA-F]{64}")',
    ),
    Planted(
        "peer_request",
        "updater/peers/holdings.py",
        "self._state(number) == HERE else -1",
        "self._state(number) else -1",
    ),
    Planted(
        "peer_said",
        "updater/peers/client.py",
        "if not _IDENTITY.fullmatch(identity)",
        "if not _IDENTITY.match(identity)",
    ),
    Planted(
        "release",
        "updater/releases/document.py",
        "if release.to_bytes() != data:",
        "if len(release.to_bytes()) != len(data):",
    ),
    Planted(
        "state",
        "updater/state_files.py",
        'if document["sha256"] != _digest(body):',
        'if document["sha256"][:9] != _digest(body)[:9]:',
    ),
    Planted(
        "uboot_environment",
        "boot/uboot_environment.py",
        "(old.flags + 1) & 0xFF",
        "min(old.flags + 1, 0xFF)",
    ),
    Planted(
        "barebox_state",
        "boot/barebox_state.py",
        "for number in state.different:",
        "for number in ():",
    ),
    Planted(
        "load_option",
        "boot/load_option.py",
        "description is None or path_end",
        "path_end",
    ),
    Planted(
        "partitions",
        "updater/partitions.py",
        "0 < first <= last",
        "0 < first",
    ),
)


@pytest.mark.parametrize("planted", DEFECTS, ids=lambda planted: planted.target)
def test_a_planted_defect_is_found(planted: Planted, tmp_path: Path) -> None:
    root = tmp_path / "tree"
    for name in (*COPIED, "tests/capabilities.py"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, root / name)
    text = (root / planted.file).read_text()
    assert text.count(planted.right) == 1
    (root / planted.file).write_text(text.replace(planted.right, planted.wrong))
    done = run_fuzzer(planted.target, MOST_RUNS, tmp_path, root=root)
    assert done.returncode != 0, done.stderr
    assert list(tmp_path.glob("crash-*")), done.stderr
    assert f"{root}/" in done.stdout + done.stderr

# SPDX-License-Identifier: Apache-2.0
"""Files that are there whole: what the medium's refusals become."""

from __future__ import annotations

from pathlib import Path

import pytest

from images.durable import replace_file
from images.errors import NoSpace, NotAccessible
from tests.capabilities import require_loop_devices, require_tool
from tests.loops import mounted, run


@pytest.fixture
def image(tmp_path: Path) -> Path:
    require_loop_devices()
    require_tool("mkfs.ext4")
    path = tmp_path / "image"
    with path.open("wb") as file:
        file.truncate(1 << 20)
    run("mkfs.ext4", "-q", path)
    return path


@pytest.mark.root
def test_a_read_only_file_system_is_told_with_its_remedy(image: Path, tmp_path: Path) -> None:
    with (
        mounted(image, tmp_path / "mnt", "ro") as at,
        pytest.raises(NotAccessible, match="Read-only file system") as refused,
    ):
        replace_file(at / "file", b"new", 0o644)
    assert refused.value.hint is not None
    assert "mount its file system writable" in refused.value.hint


@pytest.mark.root
def test_a_full_file_system_keeps_the_old_file_and_nothing_else(
    image: Path, tmp_path: Path
) -> None:
    with mounted(image, tmp_path / "mnt") as at:
        replace_file(at / "file", b"old", 0o644)
        with pytest.raises(NoSpace):
            replace_file(at / "file", bytes(2 << 20), 0o644)
        assert (at / "file").read_bytes() == b"old"
        assert sorted(path.name for path in at.iterdir()) == ["file", "lost+found"]

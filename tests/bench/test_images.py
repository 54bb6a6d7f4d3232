# SPDX-License-Identifier: Apache-2.0
"""Building images: the cache is atomic, the images are reproducible, mirrors come from apt."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from bench import images
from tests.capabilities import require_tool

DEB822 = """\
Types: deb
URIs: mirror+file:/etc/apt/mirrors/main.list
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/main.gpg

Types: deb
URIs: mirror+file:/etc/apt/mirrors/security.list
Suites: bookworm-security
Components: main contrib
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    (root / "usr/bin").mkdir(parents=True)
    for number in range(40):
        (root / f"usr/bin/tool{number}").write_bytes(number.to_bytes(2, "big") * 5000)
    (root / "bin").symlink_to("usr/bin")
    return root


def test_a_folder_is_filled_once_for_the_same_inputs(tmp_path: Path) -> None:
    filled: list[int] = []

    def fill(folder: Path) -> None:
        filled.append(1)
        (folder / "file").write_text(str(len(filled)))

    place = tmp_path / "cache" / "state"
    assert images.cached(place, {"packages": ["a"]}, fill) == place
    images.cached(place, {"packages": ["a"]}, fill)
    assert (place / "file").read_text() == "1"
    images.cached(place, {"packages": ["a", "b"]}, fill)
    assert (place / "file").read_text() == "2"


def test_an_interrupted_build_leaves_nothing(tmp_path: Path) -> None:
    def fill(folder: Path) -> None:
        (folder / "half").write_text("")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        images.cached(tmp_path / "state", {}, fill)
    assert list(tmp_path.iterdir()) == []


def test_the_same_tree_gives_the_same_ext4_image(tmp_path: Path, tree: Path) -> None:
    require_tool("mkfs.ext4", "debugfs", "dumpe2fs")
    first, second = tmp_path / "first", tmp_path / "second"
    images.make_ext4(tree, first, 8 << 20)
    copy = tmp_path / "copy"
    shutil.copytree(tree, copy, symlinks=True)
    images.make_ext4(copy, second, 8 << 20)
    assert first.stat().st_size == 8 << 20
    assert first.read_bytes() == second.read_bytes()


def test_no_time_of_the_build_gets_into_the_ext4_image(tmp_path: Path, tree: Path) -> None:
    require_tool("mkfs.ext4", "debugfs", "dumpe2fs")
    image = tmp_path / "image"
    images.make_ext4(tree, image, 8 << 20)
    for path in ("/", "/usr/bin/tool7", "/bin"):
        shown = images.run(["debugfs", "-R", f"stat {path}", image])
        for name in ("ctime", "atime", "crtime"):
            assert f"{name}: 0x{images.EPOCH:08x}:00000000" in shown


def test_the_ext4_image_is_consistent(tmp_path: Path, tree: Path) -> None:
    require_tool("mkfs.ext4", "debugfs", "e2fsck")
    image = tmp_path / "image"
    images.make_ext4(tree, image, 8 << 20)
    images.run(["e2fsck", "-f", "-n", image])


def test_the_same_tree_gives_the_same_squashfs_image(tmp_path: Path, tree: Path) -> None:
    require_tool("mksquashfs")
    first, second = tmp_path / "first", tmp_path / "second"
    images.make_squashfs(tree, first)
    images.make_squashfs(tree, second)
    assert first.read_bytes() == second.read_bytes()


def test_mirrors_are_read_from_deb822_settings(tmp_path: Path) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list.d" / "debian.sources").write_text(DEB822)
    main = "[signed-by=/usr/share/keyrings/main.gpg] mirror+file:/etc/apt/mirrors/main.list"
    assert images.mirror("bookworm-updates", tmp_path) == main
    security = "mirror+file:/etc/apt/mirrors/security.list"
    assert images.mirror("bookworm-security", tmp_path) == security
    with pytest.raises(RuntimeError, match="offers trixie"):
        images.mirror("trixie", tmp_path)


def test_mirrors_are_read_from_one_line_settings(tmp_path: Path) -> None:
    lines = "# deb file:/no bookworm main\ndeb [trusted=yes] file:/mirror bookworm main contrib\n"
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list.d" / "old.list").write_text(lines)
    assert images.mirror("bookworm", tmp_path) == "[trusted=yes] file:/mirror"


def test_packages_that_differ_are_listed_with_both_versions(tmp_path: Path) -> None:
    for name, text in (("old", "curl 1\nopenssl 3\nzsh 5\n"), ("new", "curl 2\nopenssl 3\njq 1\n")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "packages.txt").write_text(text)
    old, new = images.Built(tmp_path / "old"), images.Built(tmp_path / "new")
    assert images.changed_packages(old, new) == ["curl: 1 -> 2", "jq: - -> 1", "zsh: 5 -> -"]

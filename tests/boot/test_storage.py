# SPDX-License-Identifier: Apache-2.0
"""In which order names and contents become durable; what is read back, and what never removed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from boot import storage
from boot.errors import BootloaderMissing, EnvironmentFault
from boot.storage import discard, overwrite, rename, replace_file


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is done to names and flushed, in order; files by the names that they had when opened."""
    made: list[str] = []
    names: dict[int, str] = {}
    real_open, real_close, real_fsync = os.open, os.close, os.fsync
    real_rename, real_unlink = os.rename, os.unlink

    def opened(path: Path, flags: int, mode: int = 0o777) -> int:
        fd = real_open(path, flags, mode)
        names[fd] = "folder" if Path(path) == tmp_path else Path(path).name
        return fd

    def closed(fd: int) -> None:
        if names.get(fd, "folder") != "folder":
            made.append(f"close {names[fd]}")
        names.pop(fd, None)
        real_close(fd)

    def flushed(fd: int) -> None:
        made.append(f"flush {names[fd]}")
        real_fsync(fd)

    def renamed(path: Path, new: Path) -> None:
        made.append(f"rename {path.name} {new.name}")
        real_rename(path, new)

    def unlinked(path: Path) -> None:
        made.append(f"unlink {path.name}")
        real_unlink(path)

    for name, call in (("open", opened), ("close", closed), ("fsync", flushed)):
        monkeypatch.setattr(os, name, call)
    monkeypatch.setattr(os, "rename", renamed)
    monkeypatch.setattr(os, "unlink", unlinked)
    return made


@pytest.fixture
def one_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """All files begin at one place, as two names of one file on FAT do after a power cut."""
    monkeypatch.setattr(storage, "_first_block", lambda fd: 7)


def test_a_new_name_is_durable_before_the_file_moves_and_the_file_before_the_old_name_goes(
    tmp_path: Path, calls: list[str]
) -> None:
    (tmp_path / "old").write_text("text")
    rename(tmp_path / "old", tmp_path / "new")
    assert calls[:4] == ["flush folder", "rename old new", "flush old", "flush folder"]
    assert (tmp_path / "new").read_text() == "text"
    assert not (tmp_path / "old").exists()


def test_a_file_is_replaced_when_the_new_one_is_durable_and_the_old_one_freed_at_the_end(
    tmp_path: Path, calls: list[str]
) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    replace_file(path, b"new")
    order = ["flush folder", "flush file.new", "rename file.new file", "flush file.new"]
    assert calls[:5] == [*order, "flush folder"]
    assert "close file" in calls[5:]
    assert path.read_text() == "new"


def test_what_is_discarded_is_freed_when_its_name_is_gone_for_good(
    tmp_path: Path, calls: list[str]
) -> None:
    for name in ("stray", "kept"):
        (tmp_path / name).write_text("text")
    discard(tmp_path / "stray", tmp_path / "kept")
    assert calls.index("flush folder") < calls.index("close stray")
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_a_second_name_of_what_boots_is_put_out_of_the_way_and_not_freed(
    tmp_path: Path, one_file: None, calls: list[str]
) -> None:
    for number in (1, 2):
        for name in ("stray", "kept"):
            (tmp_path / name).write_text("text")
        discard(tmp_path / "stray", tmp_path / "kept")
        assert (tmp_path / f"stray.shared-{number}").read_text() == "text"
    assert not any(call.startswith("unlink") for call in calls)


def test_a_name_that_a_cut_left_is_not_overwritten_where_it_is_a_second_one(
    tmp_path: Path, one_file: None
) -> None:
    for name in ("old", "new"):
        (tmp_path / name).write_text("text")
    rename(tmp_path / "old", tmp_path / "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "new.shared-1"]


def test_a_replacement_that_a_cut_left_is_not_emptied_where_it_is_what_boots(
    tmp_path: Path, one_file: None
) -> None:
    for name in ("file", "file.new"):
        (tmp_path / name).write_text("old")
    replace_file(tmp_path / "file", b"new")
    assert (tmp_path / "file.new.shared-1").read_text() == "old"
    assert (tmp_path / "file").read_text() == "new"


def test_files_that_may_not_be_located_are_taken_for_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(fd: int) -> int:
        raise PermissionError

    monkeypatch.setattr(storage, "_first_block", refused)
    for name in ("stray", "kept"):
        (tmp_path / name).write_text("text")
    discard(tmp_path / "stray", tmp_path / "kept")
    assert (tmp_path / "stray.shared-1").exists()


def test_what_is_not_there_is_discarded_and_not_renamed(tmp_path: Path) -> None:
    discard(tmp_path / "none", tmp_path / "kept")
    with pytest.raises(BootloaderMissing):
        rename(tmp_path / "none", tmp_path / "new")
    (tmp_path / "folder").mkdir()
    with pytest.raises(EnvironmentFault):
        discard(tmp_path / "folder", tmp_path / "kept")


def test_what_was_written_in_place_is_forgotten_whole_before_it_is_read_back(
    tmp_path: Path, calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Linux keeps pages that are named only in part: a sector would be read back from memory."""
    path = tmp_path / "environment"
    path.write_bytes(bytes(4 << 12))
    real_read = os.pread
    monkeypatch.setattr(os, "posix_fadvise", lambda fd, *what: calls.append(f"forget {what}"))

    def read(fd: int, length: int, offset: int) -> bytes:
        calls.append("read")
        return real_read(fd, length, offset)

    monkeypatch.setattr(os, "pread", read)
    overwrite(path, 512, b"data" * 128)
    assert calls[:3] == ["flush environment", f"forget {(0, 0, os.POSIX_FADV_DONTNEED)}", "read"]

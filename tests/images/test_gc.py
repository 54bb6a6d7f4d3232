# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from images.digests import Digest
from images.errors import IndexInvalid, NotAccessible, SettingInvalid, TargetBusy
from images.gc import STALE_SECONDS, GcResult, collect
from images.index import Index, IndexBuilder
from images.sizes import ChunkSizes
from images.stores.local import LocalStore
from tests.capabilities import require_tool
from tests.images.casync_make import blob, casync, make

DIGEST = Digest.SHA512_256


def publish(store: LocalStore, index_path: Path, *seeds: str) -> None:
    """Put a chunk for each seed and save the index of them in that order."""
    builder, end = IndexBuilder(ChunkSizes.of(), DIGEST), 0
    with store.writer() as writer:
        for seed in seeds:
            data = blob(seed, 1000)
            end += len(data)
            builder.append(end, DIGEST.of(data))
            writer.put(DIGEST.of(data), data)
        writer.commit()
        builder.finish().save(index_path)


def path_of(store: LocalStore, seed: str) -> Path:
    return Path(store.file(DIGEST.of(blob(seed, 1000))))


@pytest.fixture
def store(tmp_path: Path) -> LocalStore:
    """A store with the chunks a to e; `new.caibx` has a, b, b, `old.caibx` has b to e."""
    store = LocalStore(tmp_path / "store.castr")
    publish(store, tmp_path / "new.caibx", "a", "b", "b")
    publish(store, tmp_path / "old.caibx", "b", "c", "d", "e")
    return store


def test_what_no_index_names_is_removed(store: LocalStore, tmp_path: Path) -> None:
    names: list[str] = []
    result = collect(store.path, [tmp_path / "new.caibx"], removing=names.append)
    assert result == GcResult(3, 2, 3, 0, 3, 2)
    assert names == sorted(path_of(store, seed).name for seed in "cde")
    assert [path_of(store, seed).exists() for seed in "abcde"] == [True, True, False, False, False]
    assert len(list(store.path.iterdir())) == 2
    assert collect(store.path, [tmp_path / "new.caibx"]) == GcResult(3, 2, 0, 0, 0, 2)


def test_what_any_index_names_stays(store: LocalStore, tmp_path: Path) -> None:
    indexes = [tmp_path / "new.caibx", tmp_path / "old.caibx"]
    assert collect(store.path, indexes) == GcResult(7, 5, 0, 0, 0, 5)


def test_a_dry_run_only_tells(store: LocalStore, tmp_path: Path) -> None:
    names: list[str] = []
    result = collect(store.path, [tmp_path / "new.caibx"], True, names.append)
    assert result == GcResult(3, 2, 3, 0, 0, 2)
    assert names == sorted(path_of(store, seed).name for seed in "cde")
    assert all(path_of(store, seed).exists() for seed in "abcde")


@pytest.mark.parametrize("content", [None, b"", b"\0" * 104])
def test_one_unreadable_index_stops_it_before_anything_is_removed(
    content: bytes | None, store: LocalStore, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / "bad.caibx").write_bytes(content)
    with pytest.raises((IndexInvalid, NotAccessible), match=r"bad\.caibx"):
        collect(store.path, [tmp_path / "new.caibx", tmp_path / "bad.caibx"])
    assert all(path_of(store, seed).exists() for seed in "abcde")


def test_without_an_index_nothing_is_removed(store: LocalStore) -> None:
    with pytest.raises(SettingInvalid, match="no index is given"):
        collect(store.path, [])
    assert all(path_of(store, seed).exists() for seed in "abcde")


def test_a_store_that_does_not_exist_is_refused(store: LocalStore, tmp_path: Path) -> None:
    with pytest.raises(NotAccessible, match="nowhere"):
        collect(tmp_path / "nowhere", [tmp_path / "new.caibx"])


def test_uncompressed_chunks_and_stale_temporary_files_are_removed(
    store: LocalStore, tmp_path: Path
) -> None:
    kept = path_of(store, "a").with_suffix("")
    kept.write_bytes(blob("a", 1000))
    raw = path_of(store, "c").with_suffix("")
    raw.write_bytes(blob("c", 1000))
    old = path_of(store, "a").with_suffix(".12ab.tmp")
    young = path_of(store, "a").with_suffix(".12ac.tmp")
    for file in (old, young):
        file.write_bytes(b"half")
    past = time.time() - STALE_SECONDS - 60
    os.utime(old, (past, past))
    result = collect(store.path, [tmp_path / "new.caibx"])
    assert result == GcResult(3, 2, 4, 1, 3, 3)
    assert (kept.exists(), raw.exists(), old.exists(), young.exists()) == (True, False, False, True)


def test_strays_are_left_alone(store: LocalStore, tmp_path: Path) -> None:
    folder = path_of(store, "c").parent
    strays = [
        store.path / "README",
        folder / "notes.cacnk",
        folder / f"{path_of(store, 'c').stem}.bak",
        store.path / path_of(store, "c").name,
    ]
    for stray in strays:
        stray.write_bytes(b"")
    (folder / f"{folder.name}{'0' * 60}.cacnk").mkdir()
    result = collect(store.path, [tmp_path / "new.caibx"])
    assert (result.removed_chunks, result.removed_directories) == (3, 2)
    assert all(stray.exists() for stray in strays)


def test_it_does_not_run_beside_a_writer(store: LocalStore, tmp_path: Path) -> None:
    with store.writer() as writer:
        data = blob("f", 1000)
        writer.put(DIGEST.of(data), data)
        writer.commit()
        with pytest.raises(TargetBusy, match="is being written to"):
            collect(store.path, [tmp_path / "new.caibx"])
        assert collect(store.path, [tmp_path / "new.caibx"], dry_run=True).removed_chunks == 4
    assert path_of(store, "f").exists()
    assert collect(store.path, [tmp_path / "new.caibx"]).removed_chunks == 4


@pytest.mark.interop
def test_it_removes_what_casync_removes(tmp_path: Path) -> None:
    require_tool("casync")
    old, new = blob("image", 900_000), blob("image", 400_000) + blob("changed", 500_000)
    stores = []
    for name in ("theirs", "ours"):
        _, store = make(tmp_path / name / "old", old)
        index = tmp_path / name / "new.caibx"
        (tmp_path / name / "image").write_bytes(new)
        casync("make", f"--store={store}", index, tmp_path / name / "image")
        stores.append((store, index))
    (theirs, their_index), (ours, our_index) = stores
    said = casync("gc", "-v", f"--store={theirs}", their_index)
    result = collect(ours, [our_index])
    assert result.removed_chunks > 0
    assert f"{result.references} references, {result.chunks} chunks" in said
    assert (
        f"Removed {result.removed_chunks} chunks, {result.removed_directories} directories, "
        f"{result.remaining} chunks remaining."
    ) in said
    assert sorted(file.relative_to(ours) for file in ours.rglob("*")) == sorted(
        file.relative_to(theirs) for file in theirs.rglob("*")
    )
    casync("extract", f"--store={ours}", our_index, tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == new
    assert len(Index.load(our_index)) == result.references

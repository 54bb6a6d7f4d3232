# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from images.compression import Compression
from images.digests import ChunkId, Digest
from images.errors import ChunkInvalid, NotAccessible, SettingInvalid
from images.events import Event, Phase, Progress, SourceFailed
from images.index import Index, IndexBuilder
from images.sizes import ChunkSizes
from images.storecheck import CheckResult, check_store
from images.stores.local import LocalStore
from images.stores.protocol import ChunkRef
from tests.capabilities import require_tool
from tests.images.casync_make import blob, make

SEEDS = "abcdef"


def id_of(seed: str, digest: Digest = Digest.SHA512_256) -> ChunkId:
    return digest.of(blob(seed, 2000))


def fill(path: Path, digest: Digest = Digest.SHA512_256) -> LocalStore:
    """Make a store with a chunk for each seed, in all compressions."""
    store = LocalStore(path)
    for number, seed in enumerate(SEEDS):
        store.compression = list(Compression)[number % 3]
        with store.writer() as writer:
            writer.put(id_of(seed, digest), blob(seed, 2000))
    return store


def index_of(seeds: str, digest: Digest = Digest.SHA512_256) -> Index:
    builder = IndexBuilder(ChunkSizes.of(), digest)
    for number, seed in enumerate(seeds, 1):
        builder.append(number * 2000, id_of(seed, digest))
    return builder.finish()


def file(store: LocalStore, seed: str) -> Path:
    return Path(store.file(id_of(seed)))


def stored_bytes(store: LocalStore) -> int:
    return sum(path.stat().st_size for path in store.path.rglob("*.cacnk"))


def delivers(store: LocalStore, seed: str) -> bool:
    (answer,) = store.fetch([ChunkRef(0, id_of(seed), 2000)], Digest.SHA512_256)
    return answer.data == blob(seed, 2000)


@pytest.mark.parametrize("digest", list(Digest))
def test_a_good_store_is_good(digest: Digest, tmp_path: Path) -> None:
    store = fill(tmp_path / "store", digest)
    events: list[Event] = []
    result = check_store(store, on_event=events.append)
    assert result == CheckResult(6, stored_bytes(store), (), 0, 0, 0)
    assert events[-1] == Progress(Phase.CHECK_STORE, stored_bytes(store), None)
    assert len(events) == 6


def test_both_digests_may_be_in_one_store(tmp_path: Path) -> None:
    fill(tmp_path / "store", Digest.SHA256)
    store = fill(tmp_path / "store", Digest.SHA512_256)
    assert check_store(store) == CheckResult(12, stored_bytes(store), (), 0, 0, 0)


@pytest.mark.interop
@pytest.mark.parametrize("compression", list(Compression))
@pytest.mark.parametrize("digest", list(Digest))
def test_a_store_of_casync_is_good(
    compression: Compression, digest: Digest, tmp_path: Path
) -> None:
    require_tool("casync")
    options = (f"--compression={compression.value}", f"--digest={digest.value}")
    path, store = make(tmp_path, blob("image", 700_000), *options)
    result = check_store(LocalStore(store))
    assert (result.files, result.bad) == (len(Index.load(path)), ())


def damage(store: LocalStore) -> None:
    """Damage a in its content, b by its end, c by something behind; d is empty, e is f."""
    with store.writer() as writer:
        writer.put(id_of("a"), blob("A", 2000), replace=True)
    file(store, "b").write_bytes(file(store, "b").read_bytes()[:-1])
    file(store, "c").write_bytes(file(store, "c").read_bytes() + b"\0")
    file(store, "d").write_bytes(b"")
    file(store, "e").unlink()
    file(store, "e").symlink_to(file(store, "f"))


def test_everything_that_is_wrong_is_listed_and_nothing_is_touched(tmp_path: Path) -> None:
    store = fill(tmp_path / "store")
    damage(store)
    result = check_store(store)
    assert {bad.id: bad.path for bad in result.bad} == {
        id_of(seed): str(file(store, seed)) for seed in "abcde"
    }
    assert [bad.path for bad in result.bad] == sorted(bad.path for bad in result.bad)
    reasons = {bad.id: str(bad.error) for bad in result.bad}
    for seed, reason in (
        ("a", "its content has another digest than its name says"),
        ("b", "truncated xz stream"),
        ("c", "something follows the end of the gzip stream"),
        ("d", "begins with nothing"),
        ("e", "is a symbolic link"),
    ):
        assert reasons[id_of(seed)].startswith(str(file(store, seed)))
        assert reason in reasons[id_of(seed)]
    assert (result.files, result.replaced, result.removed, result.left) == (6, 0, 0, 5)
    assert file(store, "e").is_symlink()
    assert file(store, "d").exists()


def test_repair_removes_what_is_wrong_and_only_that(tmp_path: Path) -> None:
    store = fill(tmp_path / "store")
    damage(store)
    result = check_store(store, repair=True)
    assert (len(result.bad), result.replaced, result.removed, result.left) == (5, 0, 5, 0)
    assert not any(os.path.lexists(file(store, seed)) for seed in "abcde")
    assert delivers(store, "f")
    assert check_store(store).bad == ()


def test_repair_fetches_again_what_an_index_names(tmp_path: Path) -> None:
    store, other = fill(tmp_path / "store"), fill(tmp_path / "other")
    damage(store)
    raw = Path(store.file(id_of("f"), compressed=False))
    raw.write_bytes(b"damaged too")
    file(other, "c").unlink()
    events: list[Event] = []
    result = check_store(
        store,
        repair=True,
        repair_from=other,
        indexes=[index_of("ab"), index_of("bbcef")],
        on_event=events.append,
    )
    # a, b, e and f are fetched; c is not there, and no index knows the length of d.
    assert (len(result.bad), result.replaced, result.removed, result.left) == (6, 4, 3, 0)
    assert [delivers(store, seed) for seed in SEEDS] == [True, True, False, False, True, True]
    assert not raw.exists()
    assert not os.path.lexists(file(store, "c"))
    (failed,) = [event for event in events if isinstance(event, SourceFailed)]
    assert (failed.source, failed.chunk, failed.code) == (
        other.name,
        id_of("c").hex(),
        "image.chunk-missing",
    )
    assert check_store(store).bad == ()


def test_repair_from_a_store_needs_an_index(tmp_path: Path) -> None:
    store = fill(tmp_path / "store")
    with pytest.raises(SettingInvalid, match="needs `repair` and the index"):
        check_store(store, repair=True, repair_from=store)
    with pytest.raises(SettingInvalid, match="needs `repair` and the index"):
        check_store(store, repair_from=store, indexes=[index_of("a")])


def test_a_file_that_cannot_be_read_is_told_but_never_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = fill(tmp_path / "store")
    original = os.open

    def denied(path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        if str(path) == str(file(store, "a")):
            raise PermissionError(13, "simulated")
        return original(path, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", denied)
    result = check_store(store, repair=True)
    assert [type(bad.error) for bad in result.bad] == [NotAccessible]
    assert (result.removed, result.left) == (0, 1)
    assert file(store, "a").exists()


def test_uncompressed_chunks_are_checked_and_fifos_do_not_hang(tmp_path: Path) -> None:
    store = fill(tmp_path / "store")
    good, bad, fifo = (Path(store.file(id_of(seed), compressed=False)) for seed in "abc")
    good.write_bytes(blob("a", 2000))
    bad.write_bytes(blob("a", 2000))
    os.mkfifo(fifo)
    result = check_store(store)
    assert {found.path for found in result.bad} == {str(bad), str(fifo)}
    assert all(isinstance(found.error, ChunkInvalid) for found in result.bad)
    assert result.files == 9


def test_a_store_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotAccessible, match="nowhere"):
        check_store(LocalStore(tmp_path / "nowhere"))


def test_a_chunk_of_100_mebibytes_is_checked_in_little_memory(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store")
    zeros = bytes(100 << 20)
    with store.writer() as writer:
        writer.put(Digest.SHA256.of(zeros), zeros)
    script = """
import resource, sys
from images.storecheck import check_store
from images.stores.local import LocalStore
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
result = check_store(LocalStore(sys.argv[1]))
print(len(result.bad), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    result = subprocess.run(
        [sys.executable, "-c", script, store.path],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=Path(__file__).parents[2],
    )
    bad, kib = map(int, result.stdout.split())
    assert bad == 0
    assert kib < 32 << 10


def test_a_bomb_ends_at_the_largest_length_of_a_chunk(tmp_path: Path) -> None:
    store = fill(tmp_path / "store")
    with store.writer() as writer:
        writer.put(id_of("a"), bytes((128 << 20) + 1), replace=True)
    (bad,) = check_store(store).bad
    assert "stream of more than 134217728 bytes" in str(bad.error)

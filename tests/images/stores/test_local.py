# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import errno
import fcntl
import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from images import chunkfile, linux, zstd
from images.compression import Compression
from images.digests import Buffer, ChunkId, Digest
from images.errors import ChunkInvalid, ChunkMissing, DeviceFault, NoSpace, NotAccessible
from images.index import Index, IndexBuilder
from images.sizes import ChunkSizes
from images.stores import writing
from images.stores.local import LocalStore
from images.stores.protocol import Answer, ChunkRef
from images.stores.writing import Stored, StoreWriter
from tests.capabilities import require_root, require_tool
from tests.images.casync_make import blob, casync, make, refs

DIGEST = Digest.SHA512_256


def chunk(seed: str, length: int = 3000) -> tuple[ChunkId, bytes]:
    data = blob(seed, length)
    return DIGEST.of(data), data


def ask(store: LocalStore, chunk_id: ChunkId, length: int) -> Answer:
    (answer,) = store.fetch([ChunkRef(7, chunk_id, length)], DIGEST)
    assert answer.ref.number == 7
    assert answer.source == str(store.path)
    return answer


def filled(path: Path, *seeds: str, compression: Compression = Compression.ZSTD) -> LocalStore:
    store = LocalStore(path, compression)
    with store.writer() as writer:
        for seed in seeds:
            writer.put(*chunk(seed))
    return store


def files(path: Path) -> list[Path]:
    return sorted(file for file in path.rglob("*") if file.is_file())


@pytest.fixture
def umask_077() -> Iterator[None]:
    before = os.umask(0o077)
    yield
    os.umask(before)


@pytest.mark.interop
@pytest.mark.parametrize("compression", list(Compression))
@pytest.mark.parametrize("digest", list(Digest))
def test_a_store_that_casync_made_is_read(
    compression: Compression, digest: Digest, tmp_path: Path
) -> None:
    require_tool("casync")
    data = blob("image", 900_000)
    options = (f"--compression={compression.value}", f"--digest={digest.value}")
    path, store = make(tmp_path, data, *options)
    index = Index.load(path)
    answers = sorted(
        LocalStore(store).fetch(iter(refs(index)), digest), key=lambda answer: answer.ref.number
    )
    assert b"".join(answer.data or b"" for answer in answers) == data
    assert sum(answer.transferred for answer in answers) == sum(
        file.stat().st_size for file in store.rglob("*.cacnk")
    )


@pytest.mark.interop
@pytest.mark.parametrize("compression", list(Compression))
@pytest.mark.parametrize("digest", list(Digest))
def test_casync_extracts_from_a_store_written_here(
    compression: Compression, digest: Digest, tmp_path: Path
) -> None:
    require_tool("casync")
    store = LocalStore(tmp_path / "store.castr", compression)
    data = blob("image", 500_000)
    builder = IndexBuilder(ChunkSizes.of(), digest)
    with store.writer() as writer:
        for start in range(0, len(data), 60_000):
            part = data[start : start + 60_000]
            builder.append(start + len(part), digest.of(part))
            writer.put(digest.of(part), memoryview(part))
        writer.commit()
        builder.finish().save(tmp_path / "image.caibx")
    casync("extract", f"--store={store.path}", tmp_path / "image.caibx", tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == data


def test_put_says_what_is_new_and_does_not_write_twice(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store")
    chunk_id, data = chunk("a")
    with store.writer() as writer:
        first = writer.put(chunk_id, data)
        again = writer.put(chunk_id, data)
        writer.commit()
        before = os.stat(store.file(chunk_id))
        after_commit = writer.put(chunk_id, data)
    assert first == Stored(True, before.st_size)
    assert again == after_commit == Stored(False, before.st_size)
    with store.writer() as writer:
        assert writer.put(chunk_id, data) == Stored(False, before.st_size)
    assert os.stat(store.file(chunk_id)).st_ino == before.st_ino
    assert files(store.path) == [Path(store.file(chunk_id))]


def test_an_uncompressed_chunk_counts_as_present(tmp_path: Path) -> None:
    store = filled(tmp_path, "other")
    chunk_id, data = chunk("a")
    raw = Path(store.file(chunk_id, compressed=False))
    raw.parent.mkdir(exist_ok=True)
    raw.write_bytes(data)
    with store.writer() as writer:
        assert writer.put(chunk_id, data) == Stored(False, len(data))
    assert ask(store, chunk_id, len(data)).data == data


def test_a_body_that_is_compressed_already_is_stored_as_it_is(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store", Compression.ZSTD)
    chunk_id, data = chunk("a")
    body = chunkfile.encode(data, Compression.XZ)
    with store.writer() as writer:
        assert writer.put_encoded(chunk_id, body) == Stored(True, len(body))
        assert writer.put_encoded(chunk_id, body) == Stored(False, len(body))
    assert Path(store.file(chunk_id)).read_bytes() == body
    assert ask(store, chunk_id, len(data)).data == data


def test_replace_writes_over_what_is_there(tmp_path: Path) -> None:
    store = filled(tmp_path / "store", "a")
    chunk_id, data = chunk("a")
    Path(store.file(chunk_id)).write_bytes(b"damaged")
    with store.writer() as writer:
        assert writer.put(chunk_id, data).new is False
        assert writer.put(chunk_id, data, replace=True).new is True
    assert ask(store, chunk_id, len(data)).data == data


def test_what_a_power_cut_emptied_and_links_are_written_anew(tmp_path: Path) -> None:
    store = filled(tmp_path / "store", "a", "b")
    (a, data_a), (b, data_b) = chunk("a"), chunk("b")
    Path(store.file(a)).write_bytes(b"")
    Path(store.file(b)).unlink()
    Path(store.file(b)).symlink_to("/dev/null")
    assert [stat.present for stat in store.stat([ChunkRef(0, a, 1), ChunkRef(1, b, 1)])] == [
        False,
        False,
    ]
    with store.writer() as writer:
        assert writer.put(a, data_a).new
        assert writer.put(b, data_b).new
    assert ask(store, a, len(data_a)).data == data_a
    assert ask(store, b, len(data_b)).data == data_b


def test_modes_do_not_depend_on_the_umask(tmp_path: Path, umask_077: None) -> None:
    store = filled(tmp_path / "store", "a")
    file = Path(store.file(chunk("a")[0]))
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (file, file.parent, store.path)]
    assert modes == [0o644, 0o755, 0o755]


def test_a_folder_that_lacks_in_an_old_store_is_made_with_the_same_modes(
    tmp_path: Path, umask_077: None
) -> None:
    store = filled(tmp_path / "store", "a")
    with store.writer() as writer:
        assert not writer.put(*chunk("a")).new
        assert writer.put(*chunk("b")).new
    file = Path(store.file(chunk("b")[0]))
    assert [stat.S_IMODE(path.stat().st_mode) for path in (file, file.parent)] == [0o644, 0o755]
    assert len(files(store.path)) == 2


def test_threads_share_a_writer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "BATCH_CHUNKS", 7)
    store = LocalStore(tmp_path / "store")
    chunks = [chunk(f"chunk {number % 60}", 500) for number in range(120)]
    with store.writer() as writer, ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda item: writer.put(*item), chunks))
    assert len(files(store.path)) == 60
    for chunk_id, data in chunks:
        assert ask(store, chunk_id, len(data)).data == data


def test_of_twins_that_are_written_at_the_same_time_one_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both_are_missing = threading.Barrier(2, timeout=30)

    def encode(data: Buffer, algorithm: Compression) -> bytes:
        both_are_missing.wait()
        return chunkfile.encode(data, algorithm)

    monkeypatch.setattr(writing, "encode", encode)
    store = LocalStore(tmp_path / "store")
    with store.writer() as writer, ThreadPoolExecutor(2) as pool:
        stored = list(pool.map(lambda item: writer.put(*item), [chunk("a")] * 2))
    assert sorted(twin.new for twin in stored) == [False, True]
    assert files(store.path) == [Path(store.file(chunk("a")[0]))]
    assert ask(store, *_id_and_length("a")).data == chunk("a")[1]


def test_others_continue_to_put_while_a_batch_is_committed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "BATCH_CHUNKS", 2)
    syncing, proceed = threading.Event(), threading.Event()

    def slow_syncfs(fd: int) -> None:
        syncing.set()
        assert proceed.wait(30)

    monkeypatch.setattr(linux, "syncfs", slow_syncfs)
    store = LocalStore(tmp_path / "store")
    with store.writer() as writer:
        writer.put(*chunk("a"))
        writer.put(*chunk("b"))
        assert syncing.wait(30)
        assert writer.put(*chunk("c")).new
        assert not writer.put(*chunk("a")).new
        proceed.set()
    assert len(files(store.path)) == 3


def test_a_batch_grows_behind_a_slow_commit_before_anybody_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "BATCH_CHUNKS", 2)
    monkeypatch.setattr(writing, "MOST_BATCHES", 3)
    starts: list[int] = []
    written, proceed = [0], threading.Event()
    start = StoreWriter._start_commit

    def start_commit(writer: StoreWriter) -> Future[None]:
        starts.append(written[0])
        if len(starts) == 2:
            proceed.set()
        return start(writer)

    def syncfs(fd: int) -> None:
        assert proceed.wait(30)

    monkeypatch.setattr(StoreWriter, "_start_commit", start_commit)
    monkeypatch.setattr(linux, "syncfs", syncfs)
    store = LocalStore(tmp_path / "store")
    with store.writer() as writer:
        for number in range(8):
            written[0] = number + 1
            writer.put(*chunk(str(number)))
    assert starts == [2, 8, 8]  # two, six behind them, and what `close` finds
    assert len(files(store.path)) == 8


def test_a_chunk_gets_its_name_after_its_bytes_are_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "BATCH_CHUNKS", 4)
    monkeypatch.setattr(writing, "MOST_BATCHES", 1)
    store = LocalStore(tmp_path / "store")
    synced: set[tuple[int, int]] = set()  # inode, length
    renamed = [0]
    renamed_at_sync: list[int] = []

    def syncfs(fd: int) -> None:
        renamed_at_sync.append(renamed[0])
        synced.update((file.stat().st_ino, file.stat().st_size) for file in files(store.path))

    def rename(source: str, target: str) -> None:
        status = os.stat(source)
        assert (status.st_ino, status.st_size) in synced
        renamed[0] += 1
        os.replace(source, target)

    monkeypatch.setattr(linux, "syncfs", syncfs)
    monkeypatch.setattr(os, "rename", rename)
    with store.writer() as writer:
        for number in range(11):
            writer.put(*chunk(str(number)))
    assert renamed == [11]
    assert renamed_at_sync == [0, 4, 8, 11]  # three batches, then the names


def test_an_exception_leaves_no_temporary_files_and_what_was_committed(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store")
    with pytest.raises(RuntimeError), store.writer() as writer:
        writer.put(*chunk("a"))
        writer.commit()
        writer.put(*chunk("b"))
        raise RuntimeError
    assert files(store.path) == [Path(store.file(chunk("a")[0]))]


@pytest.mark.parametrize(("number", "error"), [(errno.EIO, DeviceFault), (errno.ENOSPC, NoSpace)])
def test_a_failed_sync_commits_nothing_and_is_raised_again(
    number: int, error: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def syncfs(fd: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(linux, "syncfs", syncfs)
    store = LocalStore(tmp_path / "store")
    writer = store.writer()
    writer.put(*chunk("a"))
    with pytest.raises(error):
        writer.commit()
    with pytest.raises(error):
        writer.close()
    writer.close()
    assert files(store.path) == []


def test_an_error_of_a_batch_in_the_background_is_raised_by_close(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "BATCH_CHUNKS", 1)
    original, calls = linux.syncfs, [0]

    def syncfs(fd: int) -> None:
        calls[0] += 1
        if calls[0] == 1:
            raise OSError(errno.EIO, "simulated")
        original(fd)

    monkeypatch.setattr(linux, "syncfs", syncfs)
    store = LocalStore(tmp_path / "store")
    with pytest.raises(DeviceFault, match="simulated"), store.writer() as writer:
        writer.put(*chunk("a"))
    assert files(store.path) == []


def test_a_full_file_system_is_no_space_and_leaves_whole_chunks(tmp_path: Path) -> None:
    require_root()
    require_tool("mount", "umount")
    subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", tmp_path], check=True, timeout=30
    )
    try:
        store = LocalStore(tmp_path / "store")
        filled(store.path, "a")
        with pytest.raises(NoSpace), store.writer() as writer:
            for number in range(1000):
                writer.put(*chunk(str(number), 20_000))
        left = files(store.path)
        assert Path(store.file(chunk("a")[0])) in left
        assert not [file for file in left if file.suffix == ".tmp"]
        assert ask(store, *_id_and_length("a")).data is not None
    finally:
        subprocess.run(["umount", tmp_path], check=True, timeout=30)


def _id_and_length(seed: str) -> tuple[ChunkId, int]:
    chunk_id, data = chunk(seed)
    return chunk_id, len(data)


WRITER = """
import sys
from images.digests import Digest
from images.stores import local, writing
from tests.images.casync_make import blob
writing.BATCH_CHUNKS, writing.MOST_BATCHES = 20, 1
with local.LocalStore(sys.argv[1]).writer() as writer:
    for number in range(100_000):
        data = blob(str(number), 30_000)
        writer.put(Digest.SHA512_256.of(data), data)
        if number % 10 == 9:
            print(number, flush=True)
"""


@pytest.mark.parametrize("lines", [1, 4, 9])
def test_a_killed_writer_leaves_only_whole_chunks(lines: int, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, tmp_path / "store"],
        stdout=subprocess.PIPE,
        cwd=Path(__file__).parents[3],
    )
    assert process.stdout is not None
    with process, process.stdout:
        for _ in range(lines):
            assert process.stdout.readline()
        process.send_signal(signal.SIGKILL)
        process.wait(30)
    store = LocalStore(tmp_path / "store")
    found = 0
    for file in files(store.path):
        if file.suffix == ".tmp":
            continue
        chunk_id = ChunkId(bytes.fromhex(file.stem))
        assert ask(store, chunk_id, 30_000).error is None
        found += 1
    assert found >= 20 * ((lines * 10 - 20) // 20)


def test_missing_chunks_and_stores_are_missing(tmp_path: Path) -> None:
    store = filled(tmp_path / "store", "a")
    answer = ask(store, chunk("b")[0], 3000)
    assert isinstance(answer.error, ChunkMissing)
    assert answer.transferred == 0
    answer = ask(LocalStore(tmp_path / "nowhere"), chunk("a")[0], 3000)
    assert isinstance(answer.error, ChunkMissing)
    assert "there is no store at" in str(answer.error)


def test_a_symbolic_link_is_known_to_be_missing(tmp_path: Path) -> None:
    store = filled(tmp_path / "store", "a")
    chunk_id, data = chunk("a")
    file = Path(store.file(chunk_id))
    file.rename(tmp_path / "elsewhere")
    file.symlink_to(tmp_path / "elsewhere")
    assert isinstance(ask(store, chunk_id, len(data)).error, ChunkMissing)


def test_a_fifo_does_not_hang_the_reader(tmp_path: Path) -> None:
    store = filled(tmp_path / "store", "a")
    chunk_id, data = chunk("a")
    file = Path(store.file(chunk_id))
    file.unlink()
    os.mkfifo(file)
    error = ask(store, chunk_id, len(data)).error
    assert isinstance(error, ChunkInvalid)
    assert "not a regular file" in str(error)


def test_a_damaged_form_does_not_hide_the_other(tmp_path: Path) -> None:
    chunk_id, data = chunk("a")
    store = filled(tmp_path / "store", "a")
    compressed, raw = (Path(store.file(chunk_id, form)) for form in (True, False))
    body = compressed.read_bytes()
    compressed.write_bytes(b"damaged")
    raw.write_bytes(data)
    answer = ask(store, chunk_id, len(data))
    assert answer.data == data
    assert answer.transferred == len(b"damaged") + len(data)
    compressed.write_bytes(body)
    raw.write_bytes(b"damaged")
    assert ask(store, chunk_id, len(data)).data == data
    compressed.write_bytes(b"damaged")
    error = ask(store, chunk_id, len(data)).error
    assert isinstance(error, ChunkInvalid)
    assert chunk_id.hex() in str(error)


def test_a_file_that_is_too_long_is_not_read_whole(tmp_path: Path) -> None:
    chunk_id, data = chunk("a")
    store = filled(tmp_path / "store", "a")
    with open(store.file(chunk_id), "ab") as file:
        file.truncate(1 << 40)
    answer = ask(store, chunk_id, len(data))
    assert isinstance(answer.error, ChunkInvalid)
    assert answer.transferred == chunkfile.longest_body(len(data)) + 1


def test_old_suffixes_are_read_and_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(chunkfile.SUFFIX_VARIABLE, ".xz")
    store = filled(tmp_path / "store", "a", compression=Compression.XZ)
    assert [file.suffix for file in files(store.path)] == [".xz"]
    assert ask(store, *_id_and_length("a")).data == chunk("a")[1]


def test_wanted_is_taken_only_as_far_as_chunks_are_in_flight(tmp_path: Path) -> None:
    store = filled(tmp_path / "store", "a")
    chunk_id, data = chunk("a")
    taken = 0

    def wanted() -> Iterator[ChunkRef]:
        nonlocal taken
        for number in range(6000):
            taken += 1
            yield ChunkRef(number, chunk_id, len(data))

    answers = store.fetch(wanted(), DIGEST)
    assert next(answers).data == data
    assert taken < 4000
    assert len({answer.ref.number for answer in answers}) == 5999


def test_stat_tells_the_stored_length(tmp_path: Path) -> None:
    store = filled(tmp_path / "store", "a")
    wanted = [ChunkRef(3, chunk("a")[0], 3000), ChunkRef(4, chunk("b")[0], 3000)]
    a, b = store.stat(wanted)
    assert (a.present, a.stored_length) == (True, os.stat(store.file(chunk("a")[0])).st_size)
    assert (b.present, b.stored_length) == (False, None)
    assert (a.ref, b.ref) == (wanted[0], wanted[1])


def test_a_store_below_a_missing_folder_or_a_file_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    for path in (tmp_path / "no" / "store", tmp_path / "file"):
        with pytest.raises(NotAccessible, match=str(path)):
            LocalStore(path).writer()


def test_a_writer_holds_a_shared_lock(tmp_path: Path) -> None:
    store = LocalStore(tmp_path / "store")
    with store.writer(), store.writer():
        fd = os.open(store.path, os.O_RDONLY)
        try:
            with pytest.raises(BlockingIOError):
                writing.lock_folder(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        finally:
            os.close(fd)


def test_listing_passes_over_strays(tmp_path: Path) -> None:
    store = filled(tmp_path / "store", "a")
    chunk_id, _ = chunk("a")
    name = chunk_id.hex()
    (store.path / "README").write_bytes(b"")
    (store.path / "zzzz").mkdir()
    (store.path / "beef").mkdir()
    (store.path / "beef" / f"{name}.cacnk").write_bytes(b"in the wrong folder")
    (store.path / name[:4] / "stray").write_bytes(b"")
    (store.path / name[:4] / f"{name}.1f.tmp").write_bytes(b"")
    listed = [file for folder in store.folders() for file in store.files(folder)]
    assert sorted((file.id, file.suffix) for file in listed) == [
        (chunk_id, ".1f.tmp"),
        (chunk_id, ".cacnk"),
    ]


def test_bad_chunks_among_good_ones_are_each_told(tmp_path: Path) -> None:
    """Several are digested at once: which of them is wrong, and why, must still be known."""
    names = [f"chunk {number}" for number in range(12)]
    store = filled(tmp_path / "store", *names)
    chunks = [chunk(name) for name in names]
    other, cut, gone = 3, 7, 8
    content = zstd.library().compress(chunk("something else")[1])
    Path(store.file(chunks[other][0])).write_bytes(content)
    damaged = Path(store.file(chunks[cut][0]))
    damaged.write_bytes(damaged.read_bytes()[:-5])
    Path(store.file(chunks[gone][0])).unlink()
    refs = [ChunkRef(number, chunk_id, 3000) for number, (chunk_id, _) in enumerate(chunks)]
    answers = list(store.fetch(refs, DIGEST))
    assert [answer.ref.number for answer in answers] == list(range(12))
    for number, answer in enumerate(answers):
        if number in (other, cut):
            assert answer.data is None
            assert isinstance(answer.error, ChunkInvalid)
            assert answer.transferred > 0
        elif number == gone:
            assert isinstance(answer.error, ChunkMissing)
        else:
            assert answer.data == chunks[number][1]
            assert answer.error is None
    assert "its content has the digest" in str(answers[other].error)

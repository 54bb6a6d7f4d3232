# SPDX-License-Identifier: Apache-2.0
"""Reads every chunk of a store, and mends what is wrong.

No index is needed: a file's name says what its content must digest to, by either algorithm, as
casync's pull server takes it. The length is not known then, so content is digested piece by piece
up to the largest length that a chunk may have (`sizes.LIMIT`) and never held as a whole.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from images.chunkfile import pieces
from images.digests import ChunkId, Digest
from images.durable import error_of, os_errors
from images.errors import ChunkInvalid, ImageError, SettingInvalid
from images.events import EventSink, Phase, Progress, SourceFailed, ignore
from images.ids import IdTable
from images.index import Index
from images.parallel import default_threads, each
from images.sizes import LIMIT
from images.stores.local import LocalStore, StoredFile
from images.stores.protocol import ChunkRef, Store

_BLOCK = 256 << 10


@dataclass(frozen=True, slots=True)
class BadFile:
    """A chunk file that cannot be used.

    Attributes:
        path: of the file.
        id: what its content should digest to.
        error: `ChunkInvalid` when the content is wrong; others when it could not be read.
    """

    path: str
    id: ChunkId
    error: ImageError


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What a check found and did.

    Attributes:
        files: chunk files looked at.
        stored_bytes: their length together.
        bad: those that cannot be used, in order of their paths.
        replaced: chunks of them that a source delivered again.
        removed: files of them that were removed.
        left: files of them that still are there as they were.
    """

    files: int
    stored_bytes: int
    bad: tuple[BadFile, ...]
    replaced: int
    removed: int
    left: int


def check_store(
    store: LocalStore,
    *,
    repair: bool = False,
    repair_from: Store | None = None,
    indexes: Sequence[Index] = (),
    on_event: EventSink = ignore,
) -> CheckResult:
    """Decompress and digest every chunk of a store.

    Args:
        store: to check.
        repair: remove files with wrong content, so that the chunks can be made or fetched again.
            A file that cannot be read for other reasons is never removed.
        repair_from: with `repair`, fetch bad chunks from there.
        indexes: that name the chunks to fetch; without the length an index knows, none can be.
        on_event: gets the bytes done, and what `repair_from` did not deliver.

    Raises:
        NotAccessible, DeviceFault: the store cannot be listed.
        NoSpace, NotAccessible, DeviceFault: it cannot be repaired.
        SettingInvalid: `repair_from` without indexes or without `repair`.
    """
    if repair_from is not None and not (repair and indexes):
        raise SettingInvalid("fetching bad chunks again needs `repair` and the index they are of")
    checker = _Checker()
    files = stored_bytes = 0
    bad: list[BadFile] = []
    for file, length, error in each(_chunk_files(store), checker.check, default_threads()):
        if length is None:
            continue
        files += 1
        stored_bytes += length
        if error is not None:
            bad.append(BadFile(file.path, file.id, error))
        on_event(Progress(Phase.CHECK_STORE, stored_bytes, None))
    bad.sort(key=lambda file: file.path)
    replaced = _fetch_again(store, bad, repair_from, indexes, on_event) if repair_from else set()
    removed = _remove(store, bad, replaced) if repair else 0
    left = len(bad) - removed - sum(_is_new(store, file, replaced) for file in bad)
    return CheckResult(files, stored_bytes, tuple(bad), len(replaced), removed, left)


def _chunk_files(store: LocalStore) -> Iterator[StoredFile]:
    for folder in store.folders():
        yield from (file for file in store.files(folder) if file.suffix in ("", store.suffix))


class _Checker:
    def __init__(self) -> None:
        self._likely = Digest.SHA512_256  # all chunks of a store tend to have the same

    def check(self, file: StoredFile) -> tuple[StoredFile, int | None, ImageError | None]:
        """Return the file, its length (None when it is gone), and what is wrong with it."""
        try:
            fd = os.open(file.path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            return file, None, None
        except OSError as error:
            if error.errno == errno.ELOOP:
                return file, 0, ChunkInvalid(f"{file.path} is a symbolic link")
            return file, 0, error_of(error, file.path)
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                return file, 0, ChunkInvalid(f"{file.path} is not a regular file")
            try:
                self._check_content(fd, file)
            except ImageError as error:
                return file, status.st_size, error
            return file, status.st_size, None
        finally:
            os.close(fd)

    def _check_content(self, fd: int, file: StoredFile) -> None:
        likely = self._likely
        for digest in (likely, *(other for other in Digest if other is not likely)):
            if _digest(fd, file, digest) == file.id:
                self._likely = digest
                return
        raise ChunkInvalid(f"{file.path}: its content has another digest than its name says")


def _digest(fd: int, file: StoredFile, digest: Digest) -> bytes:
    state, length = digest.new(), 0
    try:
        for piece in pieces(_blocks(fd, file.path), file.suffix != "", LIMIT):
            state.update(piece)
            length += len(piece)
    except ChunkInvalid as error:
        raise ChunkInvalid(f"{file.path}: {error}") from error
    if length == 0:
        raise ChunkInvalid(f"{file.path}: no content")
    return state.digest()


def _blocks(fd: int, path: str) -> Iterator[bytes]:
    offset = 0
    while True:
        with os_errors(path):
            block = os.pread(fd, _BLOCK, offset)
        if not block:
            return
        yield block
        offset += len(block)


def _fetch_again(
    store: LocalStore,
    bad: Sequence[BadFile],
    source: Store,
    indexes: Sequence[Index],
    on_event: EventSink,
) -> set[ChunkId]:
    replaced = set[ChunkId]()
    with store.writer() as writer:
        for index in indexes:
            missing = {file.id for file in bad} - replaced
            for answer in source.fetch(_refs(index, missing), index.digest):
                if answer.data is not None:
                    writer.put(answer.ref.id, answer.data, replace=True)
                    replaced.add(answer.ref.id)
                elif answer.error is not None:
                    chunk, error = answer.ref.id.hex(), answer.error
                    on_event(SourceFailed(answer.source, chunk, error.code, str(error)))
    return replaced


def _refs(index: Index, ids: set[ChunkId]) -> Iterator[ChunkRef]:
    table = IdTable(index)
    for chunk_id in ids:
        number = table.find(chunk_id)
        if number >= 0:
            yield ChunkRef(number, chunk_id, index.length(number))


def _remove(store: LocalStore, bad: Sequence[BadFile], replaced: set[ChunkId]) -> int:
    removed = 0
    for file in bad:
        if isinstance(file.error, ChunkInvalid) and not _is_new(store, file, replaced):
            with os_errors(file.path):
                Path(file.path).unlink(missing_ok=True)
            removed += 1
    return removed


def _is_new(store: LocalStore, file: BadFile, replaced: set[ChunkId]) -> bool:
    return file.id in replaced and file.path == store.file(file.id)

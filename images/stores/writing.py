# SPDX-License-Identifier: Apache-2.0
"""Putting chunks into a store so that a crash leaves them whole or not there.

Chunks are written under temporary names. When a batch is full, one syncfs(2) brings all of it to
the medium (where an fsync for each chunk would cost a journal commit for each), and only then
do the files get their names. `commit` and `close` end with one more syncfs for the names. Linux
reports write errors through syncfs since 5.8; before that an unreadable chunk is found at its next
use.

A writer holds a shared lock (flock) on the store's folder until it is closed. `images.gc` wants it
alone, so who makes an image keeps the writer open until the index is saved:

    with store.writer() as writer:
        writer.put(chunk_id, data)  # for every chunk
        writer.commit()
        index.save(path)
"""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
import secrets
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING

from images import linux
from images.chunkfile import encode
from images.digests import Buffer, ChunkId
from images.durable import os_errors

if TYPE_CHECKING:
    from images.stores.local import LocalStore

BATCH_CHUNKS = 1024
BATCH_BYTES = 64 << 20
"""A batch is committed when it has this many chunks or bytes: a crash loses two batches, and a
syncfs of 10 ms is spread over some seconds of compressing."""

MOST_BATCHES = 4
"""Batches that grow behind a commit before anybody waits for it, and that a crash loses as well:
syncfs brings to the medium what everybody wrote, which can take seconds."""

FILE_MODE = 0o644
FOLDER_MODE = 0o755

_NO_LOCKS = {errno.EBADF, errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}


@dataclass(frozen=True, slots=True)
class Stored:
    """What became of a chunk that was put.

    Attributes:
        new: it was not in the store before.
        stored_length: bytes of its file.
    """

    new: bool
    stored_length: int


@dataclass(frozen=True, slots=True)
class _Written:
    temporary: str
    final: str
    length: int


class StoreWriter:
    """Puts chunks into a `LocalStore`; threads may share one.

    Leaving the `with` block commits; leaving it by an exception, or dying, leaves what was
    committed before.
    """

    def __init__(self, store: LocalStore) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._batch: dict[ChunkId, _Written] = {}
        self._batch_bytes = 0
        self._committing: dict[ChunkId, _Written] = {}
        self._commit_end: Future[None] | None = None
        with os_errors(store.name):
            _make_folder(store.name)
            self._folder = os.open(store.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._committer = ThreadPoolExecutor(1)
        self._tokens = itertools.count(secrets.randbits(63))
        self._folders_are_new = True
        self._open = True
        lock_folder(self._folder, fcntl.LOCK_SH)

    def __enter__(self) -> StoreWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if kind is None:
            self.close()
        else:
            self.abort()

    def put(self, chunk_id: ChunkId, data: Buffer, *, replace: bool = False) -> Stored:
        """Compress and write a chunk unless it is there already; it is durable after `commit`.

        Args:
            chunk_id: the digest of `data`; not checked again.
            data: the chunk's bytes.
            replace: write it even if there is a file, because that one is damaged.

        Raises:
            NoSpace, DeviceFault, NotAccessible: this chunk or an earlier batch was not written.
        """
        present = None if replace else self._present(chunk_id)
        if present is not None:
            return Stored(False, present)
        return self._write(chunk_id, encode(data, self._store.compression))

    def put_encoded(self, chunk_id: ChunkId, body: Buffer, *, replace: bool = False) -> Stored:
        """Write a chunk whose compressed body is at hand, decoded and found right by the caller."""
        present = None if replace else self._present(chunk_id)
        return self._write(chunk_id, body) if present is None else Stored(False, present)

    def commit(self) -> None:
        """Return when all that was put so far is durable, also what was there already.

        Raises:
            NoSpace, DeviceFault, NotAccessible: it is not.
        """
        with self._lock:
            self._start_commit().result()
        with os_errors(self._store.name):
            linux.syncfs(self._folder)

    def close(self) -> None:
        """Commit, and let go of the store; the temporary files are gone even when this raises."""
        if not self._open:
            return
        try:
            self.commit()
        finally:
            self.abort()

    def abort(self) -> None:
        """Let go of the store without the chunks that are not committed."""
        if not self._open:
            return
        self._open = False
        self._committer.shutdown(wait=True)
        for written in (*self._batch.values(), *self._committing.values()):
            with suppress(OSError):
                os.unlink(written.temporary)
        os.close(self._folder)

    def _present(self, chunk_id: ChunkId) -> int | None:
        with self._lock:
            written = self._batch.get(chunk_id) or self._committing.get(chunk_id)
        if written is not None:
            return written.length
        if self._folders_are_new:
            # A new store lacks most folders: to make one also tells that the chunk is not there.
            with os_errors(self._store.name):
                self._folders_are_new = _make_folder(os.path.dirname(self._store.file(chunk_id)))
            if self._folders_are_new:
                return None
        return self._store.stored_length(chunk_id)

    def _write(self, chunk_id: ChunkId, body: Buffer) -> Stored:
        final = self._store.file(chunk_id)
        temporary = f"{self._store.file(chunk_id, False)}.{next(self._tokens):x}.tmp"
        with os_errors(temporary):
            self._write_file(temporary, body)
        with self._lock:
            twin = self._batch.setdefault(chunk_id, _Written(temporary, final, len(body)))
            if twin.temporary == temporary:
                self._batch_bytes += len(body)
                if self._is_due():
                    self._start_commit()
                return Stored(True, len(body))
        os.unlink(temporary)
        return Stored(False, twin.length)

    def _write_file(self, path: str, body: Buffer) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            fd = os.open(path, flags, FILE_MODE)
        except FileNotFoundError:
            self._folders_are_new = _make_folder(os.path.dirname(path))
            fd = os.open(path, flags, FILE_MODE)
        try:
            os.fchmod(fd, FILE_MODE)
            view = memoryview(body)
            while view:
                view = view[os.write(fd, view) :]
        except BaseException:
            os.unlink(path)
            raise
        finally:
            os.close(fd)

    def _is_due(self) -> bool:
        """Tell whether the batch is full, and no commit goes on that it can well wait for."""
        fill = max(len(self._batch) / BATCH_CHUNKS, self._batch_bytes / BATCH_BYTES)
        busy = self._commit_end is not None and not self._commit_end.done()
        return fill >= (MOST_BATCHES if busy else 1)

    def _start_commit(self) -> Future[None]:
        """Hand the batch to the committing thread, after the one before (the lock is held)."""
        if self._commit_end is not None:
            self._commit_end.result()
        self._committing, self._batch, self._batch_bytes = self._batch, {}, 0
        self._commit_end = self._committer.submit(self._commit_batch, self._committing)
        return self._commit_end

    def _commit_batch(self, batch: dict[ChunkId, _Written]) -> None:
        if not batch:
            return
        with os_errors(self._store.name):
            linux.syncfs(self._folder)
            for written in batch.values():
                os.rename(written.temporary, written.final)


def lock_folder(folder: int, how: int) -> None:
    """Take a lock (`fcntl.LOCK_*`) on a store's folder, where the file system knows locks.

    Raises:
        BlockingIOError: `how` has LOCK_NB, and another holds the lock.
    """
    try:
        fcntl.flock(folder, how)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise


def _make_folder(path: str) -> bool:
    """Make a folder; tell whether it was not there."""
    try:
        os.mkdir(path, FOLDER_MODE)
    except FileExistsError:
        return False
    os.chmod(path, FOLDER_MODE)
    return True

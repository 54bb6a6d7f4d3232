# SPDX-License-Identifier: Apache-2.0
"""A chunk store in a folder: casync's `.castr`, read in parallel and written durably.

Layout: docs/formats.md, "Chunk store". Beyond casync: a damaged file does not hide a good one of
the other form, files are 0644 and folders 0755 whatever the umask, and no crash leaves a truncated
chunk under its final name.

Writing is in `writing.py`.
"""

from __future__ import annotations

import errno
import os
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from images.chunkfile import (
    compressed_suffix,
    decode,
    id_of_name,
    longest_body,
    relative_path,
    unpack,
)
from images.compression import Compression
from images.digests import ChunkId, Digest
from images.durable import error_of, os_errors
from images.errors import ChunkInvalid, ChunkMissing, ImageError
from images.parallel import batches, default_threads, each
from images.stores.protocol import Answer, ChunkRef, Stat

if TYPE_CHECKING:
    from images.stores.writing import StoreWriter

_FOLDER = re.compile(r"[0-9a-f]{4}")
_GROUP_BYTES = 1 << 20
"""Chunks that one thread reads and digests at a time: enough to keep the lanes of a digest busy,
and to make handing over cheap."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file in a store.

    Attributes:
        path: of the file.
        id: of the chunk it is named after.
        suffix: the rest of the name: empty for a raw chunk, the store's suffix for a compressed
            one, something else for temporary files and strays.
    """

    path: str
    id: ChunkId
    suffix: str


class LocalStore:
    """A store in a folder, which need not exist until something is written.

    Attributes:
        path: the folder.
        suffix: of compressed chunk files.
        compression: what new chunks are compressed with.
    """

    remote = False

    def __init__(
        self, path: str | os.PathLike[str], compression: Compression = Compression.ZSTD
    ) -> None:
        self.path = Path(path)
        self.suffix = compressed_suffix()
        self.compression = compression

    @property
    def name(self) -> str:
        """The path."""
        return str(self.path)

    def fetch(self, wanted: Iterable[ChunkRef], digest: Digest) -> Iterator[Answer]:
        """Yield an answer for each wanted chunk, in the order of `wanted`."""
        groups = batches(wanted, lambda ref: ref.length, _GROUP_BYTES)
        for group in each(groups, partial(self._answers, digest=digest), default_threads()):
            yield from group

    def stat(self, wanted: Iterable[ChunkRef]) -> Iterator[Stat]:
        """Yield for each wanted chunk whether a file of its name is there, and its length."""
        for ref in wanted:
            length = self.stored_length(ref.id)
            yield Stat(ref, length is not None, length)

    def close(self) -> None:
        """Hold nothing, end nothing."""

    def writer(self) -> StoreWriter:
        """Return a context manager that puts chunks into the store.

        Raises:
            NotAccessible, NoSpace, DeviceFault: the folder cannot be created or opened.
        """
        from images.stores.writing import StoreWriter  # most who read write nothing

        return StoreWriter(self)

    def folders(self) -> Iterator[Path]:
        """Yield the folders that hold chunks, sorted; anything else is passed over.

        Raises:
            NotAccessible, DeviceFault: the store cannot be listed.
        """
        with os_errors(self.name), os.scandir(self.path) as entries:
            names = [
                entry.name
                for entry in entries
                if _FOLDER.fullmatch(entry.name) and entry.is_dir(follow_symlinks=False)
            ]
        yield from (self.path / name for name in sorted(names))

    def files(self, folder: Path) -> list[StoredFile]:
        """Return what in one folder is named after a chunk that belongs there.

        Raises:
            NotAccessible, DeviceFault: the folder cannot be listed.
        """
        files = []
        with os_errors(str(folder)), os.scandir(folder) as entries:
            for entry in entries:
                parsed = id_of_name(entry.name)
                if parsed is None or entry.is_dir(follow_symlinks=False):
                    continue
                if entry.name.startswith(folder.name):
                    files.append(StoredFile(entry.path, *parsed))
        return files

    def file(self, chunk_id: ChunkId, compressed: bool = True) -> str:
        """Return the path of a chunk's file in one of the two forms."""
        return f"{self.path}/{relative_path(chunk_id, self.suffix if compressed else '')}"

    def stored_length(self, chunk_id: ChunkId) -> int | None:
        """Return the length of a chunk's file, None where there is none.

        A symbolic link means that the chunk is known to be missing, and an empty file is what a
        power cut leaves of one that casync wrote.
        """
        for compressed in (True, False):
            try:
                status = os.lstat(self.file(chunk_id, compressed))
            except OSError:
                continue
            if stat.S_ISREG(status.st_mode) and status.st_size:
                return status.st_size
        return None

    def _answers(self, group: list[ChunkRef], digest: Digest) -> list[Answer]:
        """Answer several, digested at once; those with any trouble are looked at one by one."""
        loaded = [self._load(ref) for ref in group]
        ids = iter(digest.of_each([data for data, _ in loaded if data is not None]))
        return [
            Answer(ref, data, None, transferred, self.name)
            if data is not None and next(ids) == ref.id
            else self._answer(ref, digest)
            for ref, (data, transferred) in zip(group, loaded, strict=True)
        ]

    def _load(self, ref: ChunkRef) -> tuple[bytes | None, int]:
        """Return the content of a compressed chunk file, not digested yet, and the file's length.

        None stands for any trouble.
        """
        try:
            body = _read(self.file(ref.id), longest_body(ref.length) + 1)
            if body is not None:
                return unpack(body, ref.length, ref.id), len(body)
        except ImageError:
            pass
        return None, 0

    def _answer(self, ref: ChunkRef, digest: Digest) -> Answer:
        problem: ImageError | None = None
        transferred = 0
        for compressed in (True, False):
            limit = longest_body(ref.length) if compressed else ref.length
            try:
                body = _read(self.file(ref.id, compressed), limit + 1)
                if body is None:
                    continue
                transferred += len(body)
                data = decode(body, ref.length, ref.id, digest, compressed)
            except ImageError as error:
                problem = problem or type(error)(f"{self.name}: {error}", hint=error.hint)
            else:
                return Answer(ref, data, None, transferred, self.name)
        return Answer(ref, None, problem or self._missing(ref.id), transferred, self.name)

    def _missing(self, chunk_id: ChunkId) -> ChunkMissing:
        if not self.path.is_dir():
            return ChunkMissing(f"there is no store at {self.path}")
        return ChunkMissing(f"chunk {chunk_id.hex()} is not in {self.path}")


def _read(path: str, limit: int) -> bytes | None:
    """Return the first `limit` bytes of a regular file, None where there is no such file."""
    try:
        # Without O_NONBLOCK, opening a fifo would wait for a writer.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
            return None
        raise error_of(error, path) from error
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise ChunkInvalid(f"{path} is not a regular file")
        with os_errors(path):
            return os.read(fd, min(limit, status.st_size))
    finally:
        os.close(fd)

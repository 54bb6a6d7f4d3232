# SPDX-License-Identifier: Apache-2.0
"""Removes from a store what no index names: casync's `gc`.

What is kept is decided before anything is removed: one unreadable index ends the run. Beyond casync
this also sees uncompressed chunks and what dead writers left, and passes over strays.

Writers of ours hold a shared lock on the store until their index is saved (`images.stores.local`);
`collect` wants it alone, and then reads the indexes. So a chunk that a running make has written, or
found there and relies on, is never removed. The age of a file could not protect the latter, hence
there is no grace period. casync's own make takes no lock: do not run it at the same time.
"""

from __future__ import annotations

import fcntl
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from images.digests import ChunkId
from images.durable import os_errors
from images.errors import SettingInvalid, TargetBusy
from images.index import Index
from images.stores.local import LocalStore, StoredFile
from images.stores.writing import lock_folder

STALE_SECONDS = 24 * 60 * 60
"""Temporary files of this age have no writer any more, also none without a lock."""

_TEMPORARY = re.compile(r"\.[0-9a-f]{1,16}\.tmp")


@dataclass(frozen=True, slots=True)
class GcResult:
    """What was removed, or with `dry_run` would be.

    Attributes:
        references: chunks in all indexes, each as often as it occurs.
        chunks: distinct ones of them.
        removed_chunks: chunk files that no index names.
        removed_temporaries: what dead writers left; not a chunk.
        removed_directories: folders that became empty; none with `dry_run`.
        remaining: chunk files left.
    """

    references: int
    chunks: int
    removed_chunks: int
    removed_temporaries: int
    removed_directories: int
    remaining: int


def collect(
    store_path: str | os.PathLike[str],
    indexes: Iterable[str | os.PathLike[str]],
    dry_run: bool = False,
    removing: Callable[[str], None] = lambda name: None,
) -> GcResult:
    """Remove the chunks of a store that no index names.

    Takes some 100 bytes of memory for each distinct chunk of the indexes.

    Args:
        store_path: the store's folder.
        indexes: paths of all `.caibx` and `.caidx` files whose chunks shall stay, at least one.
        dry_run: only count.
        removing: told the name of each file before it is, or with `dry_run` would be, removed.

    Raises:
        IndexInvalid, NotAccessible: an index or the store cannot be read; nothing was removed.
        SettingInvalid: no index is given.
        TargetBusy: somebody is writing to the store; nothing was removed.
        DeviceFault: the medium failed.
    """
    store = LocalStore(store_path)
    with _alone(store, dry_run):
        references, keep = _read_indexes(indexes)
        chunks = temporaries = directories = remaining = 0
        for folder in store.folders():
            files = store.files(folder)
            for file in files:
                if file.suffix in ("", store.suffix):
                    if file.id in keep:
                        remaining += 1
                        continue
                    chunks += 1
                elif _is_stale(file):
                    temporaries += 1
                else:
                    continue
                removing(os.path.basename(file.path))
                if not dry_run:
                    with os_errors(file.path):
                        Path(file.path).unlink(missing_ok=True)
            if not dry_run:
                directories += _remove_if_empty(folder)
    return GcResult(references, len(keep), chunks, temporaries, directories, remaining)


@contextmanager
def _alone(store: LocalStore, dry_run: bool) -> Iterator[None]:
    with os_errors(store.name):
        folder = os.open(store.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if not dry_run:
            try:
                lock_folder(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise TargetBusy(
                    f"{store.name} is being written to", hint="wait until the other command ends"
                ) from error
        yield
    finally:
        os.close(folder)


def _read_indexes(paths: Iterable[str | os.PathLike[str]]) -> tuple[int, set[ChunkId]]:
    paths = list(paths)
    if not paths:
        raise SettingInvalid("no index is given, so every chunk would be removed")
    references, keep = 0, set[ChunkId]()
    for path in paths:
        index = Index.load(path)
        references += len(index)
        keep.update(chunk_id for _, _, chunk_id in index.chunks())
    return references, keep


def _is_stale(file: StoredFile) -> bool:
    if not _TEMPORARY.fullmatch(file.suffix):
        return False
    try:
        return time.time() - os.lstat(file.path).st_mtime > STALE_SECONDS
    except FileNotFoundError:
        return False


def _remove_if_empty(folder: Path) -> bool:
    try:
        folder.rmdir()
    except OSError:
        return False
    return True

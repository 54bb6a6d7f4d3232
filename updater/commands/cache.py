# SPDX-License-Identifier: Apache-2.0
"""Copy the chunks that indexes need into a local store, so that later runs need no network."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from images.errors import ImageError
from images.events import Phase, Progress
from images.ids import IdTable
from images.index import Index
from images.parallel import default_threads, each
from images.stores.local import LocalStore
from images.stores.opening import open_stores
from images.stores.protocol import Answer, ChunkRef
from images.stores.writing import StoreWriter
from updater.arguments import UsageError
from updater.console import Console
from updater.kinds import index_locator
from updater.options import add_stores
from updater.sources import read_index, store_options
from updater.units import count_of, format_bytes


@dataclass(frozen=True, slots=True)
class CacheResult:
    """What was copied.

    Attributes:
        chunks: distinct ones that were missing, and are there now.
        present: that were there before.
        transferred_bytes: what the stores sent.
    """

    cache: str
    chunks: int
    present: int
    transferred_bytes: int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command line may say."""
    parser.add_argument("indexes", metavar="INDEX", nargs="+", help="path or URL")
    add_stores(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """Do it."""
    if args.cache is None:
        raise UsageError("--cache=DIR says where to copy to")
    cache = LocalStore(Path(args.cache))
    total = CacheResult(cache.name, 0, 0, 0)
    with cache.writer() as writer:
        for text in args.indexes:
            done = _copy(text, args, cache, writer, console)
            total = CacheResult(
                cache.name,
                total.chunks + done.chunks,
                total.present + done.present,
                total.transferred_bytes + done.transferred_bytes,
            )
    console.result(
        total,
        [
            f"{cache.name}: {count_of(total.chunks, 'chunk')} copied "
            f"({format_bytes(total.transferred_bytes)}), {total.present:,} were there"
        ],
    )
    return 0


def _copy(
    text: str, args: argparse.Namespace, cache: LocalStore, writer: StoreWriter, console: Console
) -> CacheResult:
    locator = index_locator(text, None)
    options = store_options(args)
    index = read_index(locator, options)
    present = copied = transferred = done = failed = 0
    error: ImageError | None = None

    def missing() -> Iterator[ChunkRef]:
        nonlocal present
        for ref in _distinct(index):
            if cache.stored_length(ref.id) is None:
                yield ref
            else:
                present += 1

    def keep(answer: Answer) -> Answer:
        if answer.data is not None:
            writer.put(answer.ref.id, answer.data)
        return answer

    with open_stores(replace(options, cache=None), locator, console.event) as stores:
        answers = stores.fetch(missing(), index.digest)
        for answer in each(answers, keep, default_threads()):
            transferred += answer.transferred
            done += answer.ref.length
            console.event(Progress(Phase.COPY_CHUNKS, done, None))
            if answer.error is None:
                copied += 1
            else:
                failed += 1
                error = error or answer.error
    if error is not None:
        writer.commit()  # what did come is kept
        more = f" (and {failed - 1} more chunks)" if failed > 1 else ""
        raise type(error)(f"{error}{more}", hint=error.hint)
    return CacheResult(cache.name, copied, present, transferred)


def _distinct(index: Index) -> Iterator[ChunkRef]:
    table = IdTable(index)
    for number, (start, end, chunk_id) in enumerate(index.chunks()):
        if table.find(chunk_id) == number:
            yield ChunkRef(number, chunk_id, end - start)

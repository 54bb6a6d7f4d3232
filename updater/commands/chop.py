# SPDX-License-Identifier: Apache-2.0
"""Store the chunks of an image that has an index already, after checking each against it."""

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass

from images.check import spans
from images.durable import os_errors
from images.errors import VerifyFailed
from images.events import Phase, Progress
from images.index import Index
from images.parallel import default_threads, each
from images.reading import read_into
from images.stores.local import LocalStore
from images.stores.opening import local_store
from images.stores.options import StoreOptions
from images.stores.writing import StoreWriter
from updater.console import Console
from updater.kinds import index_locator, local_path, refuse_folder
from updater.options import add_compression, add_threads, add_what
from updater.sources import read_index
from updater.units import count_of, format_bytes


@dataclass(frozen=True, slots=True)
class Chopped:
    """What became of some chunks.

    Attributes:
        new, stored_bytes: that the store did not have.
        wrong, first_wrong: that are not what the index says, and where the first one is.
    """

    new: int
    stored_bytes: int
    wrong: int
    first_wrong: int | None


@dataclass(frozen=True, slots=True)
class ChopResult:
    """What was stored."""

    store: str
    chunks: int
    new_chunks: int
    new_stored_bytes: int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command line may say."""
    parser.add_argument("index", metavar="INDEX", help="path of the index")
    parser.add_argument("input", metavar="INPUT", help="file or device with the image")
    parser.add_argument(
        "--store", metavar="DIR", help="else $CASYNC_STORE, else default.castr beside the index"
    )
    add_compression(parser)
    add_threads(parser)
    add_what(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """Do it."""
    locator = index_locator(args.index, args.what)
    index = read_index(locator, StoreOptions())
    path = local_path(args.input)
    refuse_folder(path)
    options = StoreOptions(args.store)
    store = LocalStore(local_store(options, locator).path, args.compression)
    with os_errors(str(path)):
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # not wait for a FIFO
    try:
        with store.writer() as writer:
            done = _chop(fd, str(path), index, writer, args.threads, console)
    finally:
        os.close(fd)
    if done.wrong:
        raise VerifyFailed(
            f"{count_of(done.wrong, 'chunk')} of {path} are not what the index says, "
            f"the first at {done.first_wrong}; the others are stored"
        )
    new = f"{count_of(done.new, 'chunk')} new ({format_bytes(done.stored_bytes)})"
    console.result(
        ChopResult(store.name, len(index), done.new, done.stored_bytes),
        [f"{store.name}: {new}, {len(index) - done.new:,} were there"],
    )
    return 0


def _chop(
    fd: int, name: str, index: Index, writer: StoreWriter, threads: int | None, console: Console
) -> Chopped:
    def store_span(span: tuple[int, int]) -> tuple[int, Chopped]:
        first, stop = span
        base, end = index.start(first), index.end(stop - 1)
        buffer = bytearray(end - base)
        with os_errors(name):
            view = memoryview(buffer)[: read_into(fd, base, buffer, end - base)]
        new = stored_bytes = wrong = 0
        first_wrong = None
        for start, chunk_end, chunk_id in index.chunks(first, stop):
            data = view[start - base : chunk_end - base]
            if len(data) < chunk_end - start or index.digest.of(data) != chunk_id:
                wrong += 1
                first_wrong = start if first_wrong is None else first_wrong
                continue
            stored = writer.put(chunk_id, data)
            new += stored.new
            stored_bytes += stored.stored_length if stored.new else 0
        return end - base, Chopped(new, stored_bytes, wrong, first_wrong)

    total = Chopped(0, 0, 0, None)
    done = 0
    for length, part in each(spans(index), store_span, threads or default_threads()):
        done += length
        places = [at for at in (total.first_wrong, part.first_wrong) if at is not None]
        total = Chopped(
            total.new + part.new,
            total.stored_bytes + part.stored_bytes,
            total.wrong + part.wrong,
            min(places, default=None),
        )
        console.event(Progress(Phase.COPY_CHUNKS, done, index.blob_length))
    return total

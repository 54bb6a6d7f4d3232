# SPDX-License-Identifier: Apache-2.0
"""Cut an image into chunks: write an index, and put new chunks into a store.

INPUT is a file, a block device (as far as its file system goes), a region of either, or a pipe.
The digest of the whole image is printed. The index is written last, when all chunks are durable.
A file that is written to meanwhile is an error: the index would be of no state that it ever had.
"""

from __future__ import annotations

import argparse
import os
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from images.digests import Digest
from images.inputs import open_input
from images.locator import parse_locator
from images.making import Made, make
from images.sizes import ChunkSizes
from images.stores.local import LocalStore
from images.stores.opening import local_store
from images.stores.options import StoreOptions
from updater.arguments import UsageError, value
from updater.console import Console
from updater.kinds import STANDARD, Kind, kind_of, local_path, refuse_folder
from updater.options import add_compression, add_region, add_threads, add_what
from updater.units import count_of, format_bytes, format_percent


@dataclass(frozen=True, slots=True)
class MakeResult:
    """What `make` prints."""

    digest: bytes
    algorithm: Digest
    length: int
    chunks: int
    new_chunks: int
    new_stored_bytes: int
    index: Path | None
    store: str | None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command line may say."""
    parser.add_argument(
        "output", metavar="OUTPUT", nargs="?", default=STANDARD, help="index to write (default: -)"
    )
    parser.add_argument(
        "input", metavar="INPUT", nargs="?", default=STANDARD, help="image (default: -)"
    )
    parser.add_argument(
        "--store", metavar="DIR", help="else $CASYNC_STORE, else default.castr beside the index"
    )
    parser.add_argument(
        "--chunk-size",
        metavar="[MIN:AVG:MAX|AVG]",
        type=value(ChunkSizes.parse),
        default=ChunkSizes.of(),
        help="bytes of a chunk; 16K:64K:256K if missing",
    )
    parser.add_argument(
        "--digest",
        metavar="DIGEST",
        type=value(Digest.parse),
        default=Digest.SHA512_256,
        help="sha512-256 (default) or sha256",
    )
    add_compression(parser)
    parser.add_argument(
        "-n", "--dry-run", action="store_true", help="write neither an index nor chunks"
    )
    add_threads(parser)
    add_what(parser)
    add_region(parser, "input")


def run(args: argparse.Namespace, console: Console) -> int:
    """Do it."""
    kind = kind_of(args.output, args.what)
    if kind is Kind.BLOB or (kind is None and args.output != STANDARD):
        raise UsageError(
            f"{args.output} does not end in .caibx",
            "an index of an image does; or say --what=blob-index",
        )
    output = None if args.output == STANDARD else local_path(args.output)
    if output is None and console.json and not args.dry_run:
        raise UsageError("standard output cannot take both the index and JSON")
    source = None if args.input == STANDARD else Path(args.input)
    if source is not None:
        refuse_folder(source)
    store = None
    if not args.dry_run:
        index_at = None if output is None else parse_locator(args.output)
        path = local_store(StoreOptions(args.store), index_at).path
        store = LocalStore(path, args.compression)
    console.notifier.ready()
    with ExitStack() as closing:
        opened = closing.enter_context(open_input(source, args.offset, args.length))
        writer = None if store is None else closing.enter_context(store.writer())
        made = make(
            opened,
            sizes=args.chunk_size,
            digest=args.digest,
            writer=writer,
            sink=console.event,
            threads=args.threads,
        )
        if writer is not None:
            writer.commit()
            _save(made, output, opened.mode & 0o666 & ~_umask(), console)
    console.statistics(_statistics(made))
    console.result(
        MakeResult(
            made.digest,
            made.index.digest,
            made.index.blob_length,
            len(made.index),
            made.new_chunks,
            made.stored_length,
            None if args.dry_run else output,
            None if store is None else store.name,
        ),
        [made.digest.hex()],
    )
    return 0


def _save(made: Made, output: Path | None, mode: int, console: Console) -> None:
    if output is None:
        console.write_bytes(made.index.to_bytes())
        sys.stdout.buffer.flush()
    else:
        made.index.save(output, mode)


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _statistics(made: Made) -> list[str]:
    """Return the lines that casync's `make -v` ends with, as far as they mean something."""
    chunks, length = len(made.index), made.index.blob_length
    reused = chunks - made.new_chunks
    return [
        f"Digest algorithm: {made.index.digest.value}",
        f"Archive size: {format_bytes(length)}",
        f"Number of chunks: {chunks}",
        f"Reused (non-cached) chunks: {reused} ({format_percent(reused, chunks)})",
        f"Effective average chunk size: {format_bytes(length // chunks if chunks else 0)}",
        f"New in store: {count_of(made.new_chunks, 'chunk')}, {format_bytes(made.stored_length)}",
    ]

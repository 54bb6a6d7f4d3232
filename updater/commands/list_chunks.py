# SPDX-License-Identifier: Apache-2.0
"""Print the chunks of an index in order: id, offset and length, one a line."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from images.digests import ChunkId
from images.stores.options import StoreOptions, read_settings
from updater.console import Console
from updater.kinds import STANDARD, index_locator
from updater.options import add_store_settings, add_what
from updater.sources import read_index


@dataclass(frozen=True, slots=True)
class ChunkItem:
    """One chunk."""

    id: ChunkId
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class ListResult:
    """How many there were."""

    chunks: int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command line may say."""
    parser.add_argument(
        "input", metavar="INDEX", nargs="?", default=STANDARD, help="path, URL, or - (the default)"
    )
    add_store_settings(parser)
    add_what(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """Do it."""
    locator = index_locator(args.input, args.what)
    index = read_index(locator, StoreOptions(settings=read_settings(args.store_settings)))
    for start, end, chunk_id in index.chunks():
        line = f"{chunk_id.hex()} {start} {end - start}"
        console.item("chunk", ChunkItem(chunk_id, start, end - start), line)
    console.result(ListResult(len(index)))
    return 0

# SPDX-License-Identifier: Apache-2.0
"""Facts about an index: chunks, lengths, algorithm.

casync's `stat` shows a node of a tree and refuses an index of a blob; here it describes the index.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

from images.digests import Digest
from images.ids import IdTable
from images.index import Index
from images.locator import Locator
from images.stores.options import StoreOptions, read_settings
from updater.console import Console
from updater.kinds import STANDARD, index_locator
from updater.options import add_store_settings, add_what
from updater.sources import read_index
from updater.units import format_bytes, format_percent


@dataclass(frozen=True, slots=True)
class IndexResult:
    """What an index says.

    Attributes:
        distinct_chunks, distinct_bytes: of chunks with the same id, one is counted.
        average_bytes: the effective average, where `average_size` is what was asked for.
        flags: the header's feature flags.
    """

    index: str
    image_bytes: int
    chunks: int
    distinct_chunks: int
    distinct_bytes: int
    average_bytes: int
    minimum_size: int
    average_size: int
    maximum_size: int
    digest: Digest
    flags: int


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
    console.notifier.ready()
    index = read_index(locator, StoreOptions(settings=read_settings(args.store_settings)))
    result = describe(locator, index)
    console.result(result, _lines(result))
    return 0


def describe(locator: Locator | None, index: Index) -> IndexResult:
    """Return what an index says."""
    table = IdTable(index)
    distinct_bytes = sum(
        end - start
        for number, (start, end, chunk_id) in enumerate(index.chunks())
        if table.find(chunk_id) == number
    )
    return IndexResult(
        STANDARD if locator is None else locator.name,
        index.blob_length,
        len(index),
        table.distinct,
        distinct_bytes,
        index.blob_length // max(1, len(index)),
        index.sizes.minimum,
        index.sizes.average,
        index.sizes.maximum,
        index.digest,
        index.flags,
    )


def _lines(result: IndexResult) -> list[str]:
    share = format_percent(result.distinct_bytes, result.image_bytes)
    sizes = (result.minimum_size, result.average_size, result.maximum_size)
    return [
        f"      Index: {result.index}",
        f"      Image: {result.image_bytes} bytes ({format_bytes(result.image_bytes)})",
        f"     Chunks: {result.chunks}",
        f"   Distinct: {result.distinct_chunks}, {result.distinct_bytes} bytes ({share})",
        f"    Average: {result.average_bytes} bytes ({format_bytes(result.average_bytes)})",
        f"Chunk sizes: {':'.join(map(str, sizes))} (minimum:average:maximum)",
        f"     Digest: {result.digest.value}",
        f"      Flags: {result.flags:#x}",
    ]

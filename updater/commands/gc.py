# SPDX-License-Identifier: Apache-2.0
"""Remove the chunks of a store that no INDEX names.

Name every index whose chunks shall stay. The store is --store, else $CASYNC_STORE, else
default.castr beside the first index.
"""

from __future__ import annotations

import argparse

from images.gc import GcResult, collect
from images.locator import LocalPath
from images.stores.opening import local_store
from images.stores.options import StoreOptions
from updater.console import Console
from updater.kinds import local_path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command line may say."""
    parser.add_argument("indexes", metavar="INDEX", nargs="+", help="path of an index to keep")
    parser.add_argument("--store", metavar="DIR", help="the store to clean")
    parser.add_argument("-n", "--dry-run", action="store_true", help="count only; remove nothing")


def run(args: argparse.Namespace, console: Console) -> int:
    """Do it."""
    indexes = [local_path(text) for text in args.indexes]
    store = local_store(StoreOptions(args.store), LocalPath(str(indexes[0])))
    names: list[str] = []
    result = collect(
        store.path, indexes, args.dry_run, names.append if args.verbose else lambda name: None
    )
    console.result(result, _lines(result, names, args.dry_run, args.verbose))
    return 0


def _lines(result: GcResult, names: list[str], dry_run: bool, verbose: bool) -> list[str]:
    """Return what casync's `gc` prints: nothing without options."""
    lines = []
    if verbose:
        lines.append(f"Chunk store usage: {result.references} references, {result.chunks} chunks")
        doing = "Would remove" if dry_run else "Removing"
        lines += [f"{doing} chunk {name}." for name in names]
    if dry_run:
        lines.append(
            f"Would remove {result.removed_chunks} chunks, {result.remaining} chunks remaining."
        )
    elif verbose:
        lines.append(
            f"Removed {result.removed_chunks} chunks, {result.removed_directories} directories, "
            f"{result.remaining} chunks remaining."
        )
    return lines

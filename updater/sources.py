# SPDX-License-Identifier: Apache-2.0
"""From the options that many verbs share to an index, its stores and its seeds."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from images.index import MAX_LENGTH, Index
from images.locator import LocalPath, Locator
from images.stores.options import StoreOptions, read_settings

if TYPE_CHECKING:
    from images.stores.chain import Chain
    from updater.console import Console


def store_options(args: argparse.Namespace) -> StoreOptions:
    """Gather what `arguments.add_stores` parsed.

    Raises:
        NotAccessible, SettingInvalid: the settings file cannot be used.
    """
    return StoreOptions(
        args.store,
        tuple(args.extra_store),
        None if args.cache is None else Path(args.cache),
        read_settings(args.store_settings),
        args.rate_limit_bps,
    )


def read_index(locator: Locator | None, options: StoreOptions) -> Index:
    """Read an index from a file, a web server, or standard input.

    Raises:
        NotAccessible, StoreUnavailable, ChunkMissing: it cannot be had.
        IndexInvalid: it breaks a rule of the format.
    """
    if locator is None:
        return Index.read(sys.stdin.buffer)
    if isinstance(locator, LocalPath):
        return Index.load(locator.path)
    from images.fetch import fetch_bytes

    return Index.parse(fetch_bytes(locator, options.settings_of(locator), MAX_LENGTH))


@contextmanager
def index_and_stores(
    args: argparse.Namespace, locator: Locator | None, console: Console
) -> Iterator[tuple[Index, Chain]]:
    """Read an index and open the stores that its chunks come from."""
    from images.stores.opening import open_stores  # who only looks at an index needs no store

    options = store_options(args)
    index = read_index(locator, options)
    with open_stores(options, locator, console.event) as stores:
        yield index, stores

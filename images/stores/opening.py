# SPDX-License-Identifier: Apache-2.0
"""From what a user says about stores to a `Chain`.

Which store: the one that is named, else `CASYNC_STORE`, else `default.castr` beside the index.
Local stores are asked before remote ones, in the order given, as casync does.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from images.errors import NotAccessible, SettingInvalid
from images.events import EventSink, SourceFailed, ignore
from images.locator import HttpUrl, LocalPath, Locator, default_store, parse_locator

if TYPE_CHECKING:
    from images.stores.chain import Chain
    from images.stores.options import StoreOptions
    from images.stores.protocol import PeerStore, Store

STORE_VARIABLE = "CASYNC_STORE"


def main_store(options: StoreOptions, index: Locator | None) -> Locator:
    """Return the store that is asked first, and that new chunks go to.

    Args:
        options: what the user says.
        index: where the index is, None for standard input or output.

    Raises:
        SettingInvalid: the location cannot be used.
    """
    named = options.store or os.environ.get(STORE_VARIABLE)
    if named:
        return parse_locator(named)
    return default_store(LocalPath("-") if index is None else index)


def local_store(options: StoreOptions, index: Locator | None) -> LocalPath:
    """Return the main store where it has to be a folder, because it will be written.

    Raises:
        SettingInvalid: it is remote.
    """
    store = main_store(options, index)
    if not isinstance(store, LocalPath):
        raise SettingInvalid(
            f"{store.name} is not a local path", hint="write to a local store, then publish that"
        )
    return store


@contextmanager
def open_stores(
    options: StoreOptions, index: Locator | None, on_event: EventSink = ignore
) -> Iterator[Chain]:
    """Open every store; they are closed at the end of the block.

    A store that is named and not there is told of, and is no error: seeds may have everything.

    Args:
        options: what the user says.
        index: where the index is, None for standard input.
        on_event: told of stores that fail.

    Raises:
        SettingInvalid: a location or the settings make no sense.
    """
    named = [main_store(options, index), *map(parse_locator, options.extra_stores)]
    with open_locators(named, options, on_event) as stores:
        yield stores


@contextmanager
def open_locators(
    named: Sequence[Locator],
    options: StoreOptions,
    on_event: EventSink = ignore,
    *,
    keep_local: bool = False,
    join: Callable[[Chain], PeerStore] | None = None,
) -> Iterator[Chain]:
    """Open the stores at these places, and the cache and settings of the options.

    Args:
        named: in the order to be asked; local ones come first all the same.
        options: all but its stores.
        on_event: told of stores that fail.
        keep_local: see `Chain`.
        join: from all remote stores to one that asks neighbours first.

    Raises:
        SettingInvalid: the settings make no sense.
    """
    from images.stores.chain import Chain  # who only asks which store it is needs none
    from images.stores.local import LocalStore

    local = [locator for locator in named if isinstance(locator, LocalPath)]
    remote = [locator for locator in named if isinstance(locator, HttpUrl)]
    for locator in local:
        if not Path(locator.path).is_dir():
            message = "there is no such store"
            on_event(SourceFailed(locator.path, None, NotAccessible.code, message))
    stores: list[Store] = [LocalStore(locator.path) for locator in local]
    origin = [_open_remote(locator, options) for locator in remote]
    peers = None if join is None else join(Chain(origin, None, on_event))
    stores += origin if peers is None else [peers]
    cache = None if options.cache is None else LocalStore(options.cache)
    chain = Chain(stores, cache, on_event, keep_local=keep_local, peers=peers)
    try:
        yield chain
    finally:
        chain.close()


def _open_remote(locator: HttpUrl, options: StoreOptions) -> Store:
    from images.stores.http import HttpStore

    return HttpStore(locator, options.settings_of(locator))

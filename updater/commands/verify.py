# SPDX-License-Identifier: Apache-2.0
"""Compare a device or file with an index, or read every chunk of a store; repair on demand.

    caflip verify INDEX TARGET [--offset SIZE --length SIZE]
    caflip verify STORE.castr [INDEX...]

A target is read from the medium, past the page cache. With --repair, what is wrong on it comes from
seeds and stores, as in `extract --in-place`; bad chunk files of a store are removed, or fetched
again from --store where one of the INDEXes names them.
"""

from __future__ import annotations

import argparse
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from images.errors import VerifyFailed
from images.specs import TargetSpec
from images.stores.opening import open_stores
from updater.arguments import UsageError
from updater.console import Console
from updater.kinds import index_locator, local_path, refuse_folder
from updater.options import add_region, add_seeds, add_stores, add_threads, add_what
from updater.sources import read_index, store_options
from updater.target_check import check_target, target_lines
from updater.units import count_of, format_bytes

SHOWN = 5


@dataclass(frozen=True, slots=True)
class BadChunk:
    """A chunk file that cannot be used."""

    path: str
    id: bytes
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class StoreResult:
    """What a store was found to hold.

    Attributes:
        bad: chunk files, before any repair.
        replaced, removed: of them.
    """

    store: str
    files: int
    stored_bytes: int
    bad: tuple[BadChunk, ...]
    replaced: int
    removed: int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command line may say."""
    parser.add_argument("subject", metavar="INDEX|STORE", help="index, or folder of a store")
    parser.add_argument(
        "others",
        metavar="TARGET|INDEX",
        nargs="*",
        help="device or file to compare with the index; or indexes of the store's chunks",
    )
    parser.add_argument("--repair", action="store_true", help="mend what is wrong")
    add_threads(parser)
    add_what(parser)
    add_region(parser, "target")
    add_seeds(parser)
    add_stores(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """Do it."""
    if Path(args.subject).is_dir():
        return _verify_store(args, console)
    if len(args.others) != 1:
        raise UsageError("verify takes an index and a target, or the folder of a store")
    return _verify_target(args, console)


def _verify_target(args: argparse.Namespace, console: Console) -> int:
    locator = index_locator(args.subject, args.what)
    path = local_path(args.others[0])
    refuse_folder(path)
    spec = TargetSpec(path, args.offset, args.length, in_place=True)
    options = store_options(args)
    index = read_index(locator, options)
    with ExitStack() as closing:
        stores = None
        if args.repair:  # before anything is read: a wrong name is told of at once
            stores = closing.enter_context(open_stores(options, locator, console.event))
        found = check_target(index, spec, args.threads, console.event)
        wrong = bool(found.wrong_chunks or found.excess_bytes)
        if wrong and stores is not None:
            from images.extraction import Options, extract

            extract(
                index,
                spec,
                seeds=args.seed,
                stores=stores,
                options=Options(threads=args.threads),
                sink=console.event,
            )
            found = replace(found, repaired=True)
    if wrong and not found.repaired:
        console.item("verified", found, "\n".join(target_lines(found)))
        raise VerifyFailed(
            f"{path} does not hold the image", hint="bring it in order with --repair"
        )
    console.result(found, target_lines(found))
    return 0


def _verify_store(args: argparse.Namespace, console: Console) -> int:
    from images.storecheck import check_store
    from images.stores.local import LocalStore

    options = store_options(args)
    store = LocalStore(args.subject)
    indexes = [read_index(index_locator(text, None), options) for text in args.others]
    with ExitStack() as closing:
        source = None
        if args.repair and indexes and (args.store or args.extra_store):
            source = closing.enter_context(open_stores(options, None, console.event))
        checked = check_store(
            store,
            repair=args.repair,
            repair_from=source,
            indexes=indexes if source is not None else (),
            on_event=console.event,
        )
    bad = tuple(
        BadChunk(file.path, file.id, file.error.code, str(file.error)) for file in checked.bad
    )
    result = StoreResult(
        store.name, checked.files, checked.stored_bytes, bad, checked.replaced, checked.removed
    )
    if checked.left:
        console.item("verified", result, "\n".join(_store_lines(result)))
        raise VerifyFailed(
            f"{count_of(len(bad), 'chunk file')} in {store.name} cannot be used",
            hint=None if args.repair else "remove them with --repair; --store fetches them again",
        )
    console.result(result, _store_lines(result))
    return 0


def _store_lines(result: StoreResult) -> list[str]:
    files, size = count_of(result.files, "chunk file"), format_bytes(result.stored_bytes)
    if not result.bad:
        return [f"{result.store}: all {files} are right ({size})"]
    lines = [f"{result.store}: {len(result.bad):,} of {files} cannot be used"]
    lines += [f"  {bad.message}" for bad in result.bad[:SHOWN]]
    if len(result.bad) > SHOWN:
        lines.append(f"  and {len(result.bad) - SHOWN:,} more")
    if result.replaced or result.removed:
        lines.append(f"{result.replaced} fetched again, {result.removed} removed")
    return lines

# SPDX-License-Identifier: Apache-2.0
"""Bring an image onto a device, a region of a disk, or a file, and prove that it is there.

What the target holds already stays; the rest comes from zeros, the target itself, seeds, the cache
and stores, in this order. An interrupted run is continued by the same command.
"""

from __future__ import annotations

import argparse
import sys
import time

from images.blob import read_blob
from images.extraction import Options, extract, plan
from images.index import Index
from images.parallel import default_threads
from images.seeds import Seeds
from images.specs import TargetSpec
from images.stores.chain import Chain
from updater.arguments import UsageError, boolean
from updater.console import Console
from updater.kinds import STANDARD, index_locator, local_path, refuse_folder
from updater.options import add_ask_stores, add_region, add_seeds, add_stores, add_threads, add_what
from updater.plan_table import (
    extract_result,
    plan_lines,
    plan_result,
    statistics_lines,
    store_lines,
    summary_line,
)
from updater.sources import index_and_stores


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command line may say."""
    parser.add_argument(
        "input",
        metavar="INPUT",
        nargs="?",
        default=STANDARD,
        help="index: path, URL, or - (the default)",
    )
    parser.add_argument(
        "output",
        metavar="OUTPUT",
        nargs="?",
        default=STANDARD,
        help="block device, file, or - (the default)",
    )
    parser.add_argument(
        "-n", "--dry-run", action="store_true", help="print what would be done; write nothing"
    )
    parser.add_argument(
        "--in-place",
        action="store_true",
        help="write into an existing file instead of replacing it at the end",
    )
    parser.add_argument(
        "--seed-output",
        metavar="BOOL",
        type=boolean,
        default=True,
        help="use what the target holds at other places, too (default: yes)",
    )
    parser.add_argument(
        "--reflink",
        metavar="BOOL",
        type=boolean,
        default=True,
        help="share blocks with seeds where the file system can (default: yes)",
    )
    parser.add_argument(
        "--punch-holes",
        metavar="BOOL",
        type=boolean,
        default=True,
        help="make holes of zeros in files (default: yes)",
    )
    add_ask_stores(parser)
    add_threads(parser)
    add_what(parser)
    add_region(parser, "target")
    add_seeds(parser)
    add_stores(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """Do it."""
    locator = index_locator(args.input, args.what)
    target = None
    if args.output != STANDARD:
        path = local_path(args.output)
        refuse_folder(path)
        target = TargetSpec(path, args.offset, args.length, args.in_place)
    elif console.json:
        raise UsageError("standard output cannot take both the image and JSON")
    elif args.dry_run or args.in_place or args.offset or args.length:
        raise UsageError("standard output has no region, and nothing to plan against")
    console.notifier.ready()
    with index_and_stores(args, locator, console) as (index, stores):
        if target is None:
            _write_to_output(args, index, stores, console)
        elif args.dry_run:
            _show_plan(args, index, stores, target, console)
        else:
            _extract(args, index, stores, target, console)
    return 0


def _options(args: argparse.Namespace) -> Options:
    return Options(
        seed_output=args.seed_output,
        reflink=args.reflink,
        punch_holes=args.punch_holes,
        ask_stores=args.ask_stores,
        threads=args.threads,
    )


def _extract(
    args: argparse.Namespace, index: Index, stores: Chain, target: TargetSpec, console: Console
) -> None:
    started = time.monotonic()
    made, report = extract(
        index, target, seeds=args.seed, stores=stores, options=_options(args), sink=console.event
    )
    result = extract_result(made, report, str(target.path))
    total_s = time.monotonic() - started
    console.statistics(statistics_lines(result, stores.remote, total_s))
    console.statistics(store_lines(stores.counts))
    console.summary(summary_line(result, total_s))
    console.result(result)


def _show_plan(
    args: argparse.Namespace, index: Index, stores: Chain, target: TargetSpec, console: Console
) -> None:
    made = plan(
        index, target, seeds=args.seed, stores=stores, options=_options(args), sink=console.event
    )
    result = plan_result(made, str(target.path))
    console.result(result, plan_lines(result))


def _write_to_output(
    args: argparse.Namespace, index: Index, stores: Chain, console: Console
) -> None:
    threads = args.threads or default_threads()
    with Seeds(args.seed, console.event) as seeds:
        for data in read_blob(
            index, seeds=seeds, stores=stores, sink=console.event, threads=threads
        ):
            console.write_bytes(data)
    sys.stdout.buffer.flush()
    console.summary(f"standard output: {index.blob_length} bytes")

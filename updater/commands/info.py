# SPDX-License-Identifier: Apache-2.0
"""What an update would cost: where every chunk would come from, and what there is to download.

Without TARGET, as if it were empty. Nothing is written. --ask-stores makes the download size exact.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from images.events import EventSink
from images.extraction import Options, plan
from images.index import Index
from images.planning import Plan, make_plan
from images.seeds import Seeds
from images.stores.chain import Chain
from images.target import Target, TargetSpec
from updater.console import Console
from updater.kinds import index_locator, local_path, refuse_folder
from updater.options import add_ask_stores, add_region, add_seeds, add_stores, add_threads, add_what
from updater.plan_table import plan_lines, plan_result
from updater.sources import index_and_stores


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command line may say."""
    parser.add_argument("input", metavar="INDEX", help="path, URL, or - for standard input")
    parser.add_argument(
        "target", metavar="TARGET", nargs="?", help="device or file that would be updated in place"
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
    options = Options(ask_stores=args.ask_stores, threads=args.threads)
    with index_and_stores(args, locator, console) as (index, stores):
        if args.target is None:
            made = _plan_for_nothing(args, index, stores, options, console.event)
        else:
            path = local_path(args.target)
            refuse_folder(path)
            made = plan(
                index,
                TargetSpec(path, args.offset, args.length, in_place=True),
                seeds=args.seed,
                stores=stores,
                options=options,
                sink=console.event,
            )
    result = plan_result(made, args.target)
    console.result(result, plan_lines(result))
    return 0


def _plan_for_nothing(
    args: argparse.Namespace, index: Index, stores: Chain, options: Options, sink: EventSink
) -> Plan:
    nothing = os.memfd_create("nothing", os.MFD_CLOEXEC)
    try:
        target = Target(
            nothing, TargetSpec(Path(os.devnull)), block_device=False, punch_holes=False
        )
        with Seeds(args.seed, sink) as seeds:
            return make_plan(
                index,
                target,
                seeds=seeds,
                stores=stores,
                sink=sink,
                threads=options.threads,
                ask_stores=options.ask_stores,
            )
    finally:
        os.close(nothing)

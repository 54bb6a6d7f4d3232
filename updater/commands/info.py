# SPDX-License-Identifier: Apache-2.0
"""What an update would cost: where every chunk would come from, and what there is to download.

Without TARGET, as if it were empty. Nothing is written. --ask-stores makes the download size exact.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from images.extraction import Options, plan
from images.specs import TargetSpec
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
            target = TargetSpec(Path(os.devnull), in_place=True)
        else:
            path = local_path(args.target)
            refuse_folder(path)
            target = TargetSpec(path, args.offset, args.length, in_place=True)
        made = plan(
            index, target, seeds=args.seed, stores=stores, options=options, sink=console.event
        )
    result = plan_result(made, args.target)
    console.result(result, plan_lines(result))
    return 0

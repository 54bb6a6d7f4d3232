# SPDX-License-Identifier: Apache-2.0
"""Options that several verbs share, with casync's names and defaults where casync has them."""

from __future__ import annotations

import argparse
import os

from images.sizes import parse_size
from updater.arguments import (
    TREE_OPTIONS,
    boolean,
    environment_boolean,
    log_level,
    positive,
    value,
)


def add_common(parser: argparse.ArgumentParser) -> None:
    """Add what every verb understands."""
    group = parser.add_argument_group("common options")
    group.add_argument("-h", "--help", action="help", help="show this help")
    group.add_argument(
        "-v",
        "--verbose",
        action="store_true",
        default=environment_boolean("CASYNC_VERBOSE"),
        help="show what is done, statistics, and where a bug happened",
    )
    group.add_argument(
        "-l",
        "--log-level",
        metavar="LEVEL",
        type=log_level,
        default=os.environ.get("CASYNC_LOG_LEVEL", "info"),
        help="emerg, alert, crit, err, warning, notice, info, debug or 0..7; "
        "below warning, sources that fail are not told of",
    )
    group.add_argument(
        "--json",
        action="store_true",
        help="JSON lines on standard output: events, then the result or an error",
    )


def add_stores(parser: argparse.ArgumentParser) -> None:
    """Add the options that say where chunks come from."""
    group = parser.add_argument_group("stores")
    group.add_argument(
        "--store",
        metavar="STORE",
        help="chunk store: path or URL; else $CASYNC_STORE, else default.castr beside the index",
    )
    group.add_argument(
        "--extra-store",
        metavar="STORE",
        action="append",
        default=[],
        help="another store, asked for what those before it do not deliver; may be repeated",
    )
    group.add_argument(
        "--cache",
        metavar="DIR",
        help="local store that is asked first and keeps every chunk that is fetched",
    )
    add_store_settings(group)
    group.add_argument(
        "--rate-limit-bps",
        metavar="LIMIT",
        type=positive,
        help="bytes a second from each remote store, such as 500K",
    )


def add_store_settings(parser: argparse._ActionsContainer) -> None:
    """Add `--store-settings` to a parser or a group of one."""
    parser.add_argument(
        "--store-settings",
        metavar="FILE",
        default=os.environ.get("CAFLIP_STORE_SETTINGS"),
        help="TOML file with certificates, credentials, proxies and limits by store; "
        "else $CAFLIP_STORE_SETTINGS",
    )


def add_ask_stores(parser: argparse.ArgumentParser) -> None:
    """Add `--ask-stores`."""
    parser.add_argument(
        "--ask-stores",
        action="store_true",
        help="ask remote stores for the length of each chunk, for an exact download size",
    )


def add_seeds(parser: argparse.ArgumentParser) -> None:
    """Add `--seed`."""
    from images.specs import SeedSpec

    group = parser.add_argument_group("seeds")
    group.add_argument(
        "--seed",
        metavar="SEED",
        action="append",
        default=[],
        type=value(SeedSpec.parse),
        help="data that is already here: a device, file or folder; PATH@OFFSET+LENGTH for a "
        "region, INDEX.caibx:PATH if it has an index; may be repeated",
    )


def add_region(parser: argparse.ArgumentParser, what: str) -> None:
    """Add `--offset` and `--length`."""
    group = parser.add_argument_group("region")
    group.add_argument(
        "--offset",
        metavar="SIZE",
        type=value(parse_size),
        default=0,
        help=f"where in the {what} the image begins, such as 1M",
    )
    group.add_argument("--length", metavar="SIZE", type=positive, help="bytes from there on")


def add_compression(parser: argparse.ArgumentParser) -> None:
    """Add `--compression`."""
    from images.compression import Compression

    parser.add_argument(
        "--compression",
        metavar="KIND",
        type=value(Compression.parse),
        default=Compression.ZSTD,
        help="of new chunks: zstd (default), xz or gzip",
    )


def add_threads(parser: argparse.ArgumentParser) -> None:
    """Add `--threads`."""
    parser.add_argument(
        "--threads",
        metavar="N",
        type=positive,
        help="how many to use; one for each core if missing",
    )


def add_what(parser: argparse.ArgumentParser) -> None:
    """Add casync's selector of the kind of input or output."""
    parser.add_argument(
        "--what",
        choices=("blob", "blob-index", "archive", "archive-index", "directory"),
        metavar="KIND",
        help="blob or blob-index, where the suffix does not tell; "
        "casync's other kinds are for trees",
    )


def accept_casync_options(parser: argparse.ArgumentParser) -> None:
    """Accept casync's options that mean nothing to a verb, and refuse those of trees by name."""
    known = {flag for action in parser._actions for flag in action.option_strings}
    for flag in ("--chunk-size", "--digest", "--compression", "--rate-limit-bps", "--seed"):
        if flag not in known:
            parser.add_argument(flag, help=argparse.SUPPRESS)
    for flag in ("--reflink", "--punch-holes", "--seed-output"):
        if flag not in known:
            parser.add_argument(flag, type=boolean, help=argparse.SUPPRESS)
    for flag in ("--store", "--extra-store"):
        if flag not in known:
            parser.add_argument(flag, help=argparse.SUPPRESS)
    if "-n" not in known:
        parser.add_argument("-n", "--dry-run", action="store_true", help=argparse.SUPPRESS)
    for flag in TREE_OPTIONS:
        parser.add_argument(flag, action=_TreeOption, help=argparse.SUPPRESS)


class _TreeOption(argparse.Action):
    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> None:
        parser.error(f"{option_string} is for directory trees, which caflip does not handle yet")

# SPDX-License-Identifier: Apache-2.0
"""Digest of a whole image: of a file or device as it is, or of what an index describes.

A block device ends where its file system ends. For an index, every chunk is brought from seeds and
stores and digested, so this also proves that all of them can be had.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from images.blob import read_blob
from images.digests import Digest
from images.durable import os_errors
from images.events import Phase, Progress
from images.inputs import open_input
from images.locator import HttpUrl, parse_locator
from images.parallel import default_threads
from images.runs import BLOCK_LENGTH
from images.seeds import Seeds
from images.sizes import WINDOW
from updater.arguments import UsageError, value
from updater.console import Console
from updater.kinds import STANDARD, Kind, index_locator, kind_of, refuse_folder
from updater.options import add_seeds, add_stores, add_threads, add_what
from updater.sources import index_and_stores


@dataclass(frozen=True, slots=True)
class DigestResult:
    """What `digest` prints."""

    input: str
    digest: bytes
    algorithm: Digest
    length: int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command line may say."""
    parser.add_argument(
        "input", metavar="INPUT", nargs="?", help="file, device, index, or - for standard input"
    )
    parser.add_argument(
        "--digest",
        metavar="DIGEST",
        type=value(Digest.parse),
        default=Digest.SHA512_256,
        help="sha512-256 (default) or sha256; an index has its own",
    )
    add_threads(parser)
    add_what(parser)
    add_seeds(parser)
    add_stores(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """Do it."""
    if args.input is None and args.what is None:
        raise UsageError("without an argument, casync digests the current directory as a tree")
    text = STANDARD if args.input is None else args.input
    kind = kind_of(text, args.what)
    console.notifier.ready()
    if kind is Kind.BLOB_INDEX:
        result = _digest_index(text, args, console)
    else:
        if text != STANDARD and isinstance(parse_locator(text), HttpUrl):
            raise UsageError(f"{text} is no index, and only indexes are read from a web server")
        result = _digest_blob(text, args.digest, console)
    console.result(result, [result.digest.hex()])
    return 0


def _digest_index(text: str, args: argparse.Namespace, console: Console) -> DigestResult:
    locator = index_locator(text, args.what)
    with (
        index_and_stores(args, locator, console) as (index, stores),
        Seeds(args.seed, console.event) as seeds,
    ):
        state = index.digest.new()
        for data in read_blob(
            index,
            seeds=seeds,
            stores=stores,
            sink=console.event,
            threads=args.threads or default_threads(),
        ):
            state.update(data)
    return DigestResult(text, state.digest(), index.digest, index.blob_length)


def _digest_blob(text: str, digest: Digest, console: Console) -> DigestResult:
    path = None if text == STANDARD else Path(text)
    if path is not None:
        refuse_folder(path)
    state = digest.new()
    view = memoryview(bytearray(WINDOW + BLOCK_LENGTH))
    done = 0
    with open_input(path) as opened, os_errors(text):
        while True:
            console.event(Progress(Phase.DIGEST, done, opened.length))
            count = opened.source.fill(done, view)
            state.update(view[WINDOW : WINDOW + count])
            done += count
            if count < BLOCK_LENGTH:
                return DigestResult(text, state.digest(), digest, done)

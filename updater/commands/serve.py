# SPDX-License-Identifier: Apache-2.0
"""Serve a folder of indexes, stores and releases over HTTP, for reading only, until a signal comes.

Chunk files, indexes, releases and signatures are served and nothing else. The URL is printed when
it can be asked.
"""

from __future__ import annotations

import argparse
import threading
from dataclasses import dataclass

from images.http_server import Limits
from images.serve import serve
from updater.arguments import positive
from updater.console import Console
from updater.kinds import local_path

DEFAULT_PORT = 8080


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Serving:
    """What is served, and where."""

    folder: str
    url: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command line may say."""
    parser.add_argument("folder", metavar="FOLDER", nargs="?", default=".", help="default: .")
    parser.add_argument(
        "--listen",
        metavar="[ADDRESS:]PORT",
        type=_address,
        default=Address("127.0.0.1", DEFAULT_PORT),
        help=f"numeric address and port, 0 for a free one (default: 127.0.0.1:{DEFAULT_PORT})",
    )
    parser.add_argument(
        "--rate-limit-bps", metavar="LIMIT", type=positive, help="bytes a second, for all together"
    )


def run(args: argparse.Namespace, console: Console) -> int:
    """Do it."""
    folder = local_path(args.folder)
    address: Address = args.listen
    limits = Limits(rate_bps=args.rate_limit_bps)
    with serve(folder, address.host, address.port, limits) as server:
        console.item("serving", Serving(str(folder), server.url), server.url)
        console.flush()
        console.notifier.ready()
        try:
            while not threading.Event().wait(console.notifier.watchdog_s):
                console.notifier.alive()
        except KeyboardInterrupt:  # how a server ends
            console.notifier.stopping()
    return 0


def _address(text: str) -> Address:
    host, _, port = text.rpartition(":")
    if not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is neither ADDRESS:PORT nor PORT")
    return Address(host.strip("[]") or "127.0.0.1", int(port))

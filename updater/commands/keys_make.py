# SPDX-License-Identifier: Apache-2.0
"""Make an ed25519 key pair to sign releases with, and print its fingerprint.

It has no passphrase unless one is asked for: for a key on a disk of its own, or in a build.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from datetime import timedelta

from updater.arguments import UsageError, value
from updater.console import Console
from updater.releases.keys import make_key
from updater.releases.times import parse_span
from updater.trust_options import add_gnupg_home, add_passphrase, home_of, passphrase_of

EXPIRES = "2y"


@dataclass(frozen=True, slots=True)
class MadeKey:
    """What `keys make` prints."""

    fingerprint: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command line may say."""
    parser.add_argument(
        "user_id", metavar="USER-ID", help="such as 'Releases <releases@example.org>'"
    )
    parser.add_argument(
        "--expires",
        metavar="SPAN",
        type=_span,
        default=parse_span(EXPIRES),
        help=f"how long it may sign, such as 90d or 2y, or never (default: {EXPIRES})",
    )
    add_gnupg_home(parser)
    add_passphrase(parser)
    parser.add_argument(
        "--ask-passphrase", action="store_true", help="have GnuPG ask for a passphrase"
    )


def run(args: argparse.Namespace, console: Console) -> int:
    """Do it."""
    passphrase = passphrase_of(args)
    if args.ask_passphrase and passphrase is not None:
        raise UsageError("--ask-passphrase and --passphrase-file exclude each other")
    if passphrase is None and not args.ask_passphrase:
        passphrase = ""
    fingerprint = make_key(home_of(args), args.user_id, args.expires, passphrase)
    console.result(MadeKey(fingerprint), [fingerprint])
    return 0


def _span(text: str) -> timedelta | None:
    return None if text == "never" else value(parse_span)(text)

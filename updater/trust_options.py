# SPDX-License-Identifier: Apache-2.0
"""Options of verbs that sign or verify: keys to sign with, and keys to trust."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from updater.arguments import UsageError

if TYPE_CHECKING:
    from updater.releases.signatures import Trust


def add_trust(parser: argparse.ArgumentParser) -> None:
    """Add the options that say whose signatures count."""
    group = parser.add_argument_group("trust")
    group.add_argument("--keyring", metavar="FILE", help="trusted public keys")
    group.add_argument(
        "--fingerprint",
        metavar="FPR",
        action="append",
        default=[],
        help="of a primary key whose signature counts; all of the keyring if missing; "
        "may be repeated",
    )
    group.add_argument(
        "--threshold",
        metavar="N",
        type=count,
        default=1,
        help="how many different keys have to sign (default: 1)",
    )


def add_gnupg_home(parser: argparse.ArgumentParser) -> None:
    """Add `--gnupg-home`."""
    parser.add_argument(
        "--gnupg-home",
        metavar="DIR",
        help="where the secret keys are; GnuPG's own choice if missing",
    )


def add_passphrase(parser: argparse.ArgumentParser) -> None:
    """Add `--passphrase-file`."""
    parser.add_argument(
        "--passphrase-file", metavar="FILE", help="holds the passphrase of the key in one line"
    )


def count(text: str) -> int:
    """Read a whole number that is at least 1."""
    if not text.isascii() or not text.isdigit() or not 1 <= len(text) <= 16 or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1 on")
    return int(text)


def home_of(args: argparse.Namespace) -> Path | None:
    """Return the GnuPG home that was asked for; None for the user's own."""
    return None if args.gnupg_home is None else Path(args.gnupg_home)


def passphrase_of(args: argparse.Namespace) -> str | None:
    """Return the passphrase of `--passphrase-file`; None without it."""
    from updater.releases.keys import read_passphrase

    return None if args.passphrase_file is None else read_passphrase(Path(args.passphrase_file))


def trust_of(args: argparse.Namespace) -> Trust | None:
    """Return whose signatures count; None where no keyring was named.

    Raises:
        UsageError: fingerprints without a keyring.
        KeyringUnusable, NotAccessible: see `Trust.load`.
    """
    from updater.releases.signatures import Trust

    if args.keyring is None:
        if args.fingerprint or args.threshold != 1:
            raise UsageError("--fingerprint and --threshold need --keyring")
        return None
    return Trust.load(Path(args.keyring), args.fingerprint, args.threshold)

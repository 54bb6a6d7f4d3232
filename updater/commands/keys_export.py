# SPDX-License-Identifier: Apache-2.0
"""Write a trusted keyring for devices: public keys and no more than is needed to verify.

The keys come from KEYRING, or from a GnuPG home. The same keys give the same bytes.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from images.durable import replace_file
from updater.arguments import UsageError
from updater.console import Console
from updater.kinds import local_path
from updater.releases.keys import MODE, export_home, export_keyring
from updater.releases.openpgp import Malformed, fingerprint, public_keys_in
from updater.releases.signatures import read_keyring
from updater.trust_options import add_gnupg_home, home_of


@dataclass(frozen=True, slots=True)
class Exported:
    """What `keys export` prints."""

    path: Path
    fingerprints: tuple[str, ...]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command line may say."""
    parser.add_argument("output", metavar="OUTPUT", help="file to write")
    parser.add_argument(
        "--keyring", metavar="FILE", help="take the keys from here, not from a GnuPG home"
    )
    parser.add_argument(
        "--fingerprint",
        metavar="FPR",
        action="append",
        default=[],
        type=_fingerprint,
        help="of a key to take; all if missing; may be repeated",
    )
    add_gnupg_home(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """Do it."""
    output = local_path(args.output)
    if args.keyring is not None and args.gnupg_home is not None:
        raise UsageError("keys export takes --keyring or --gnupg-home, not both")
    if args.keyring is not None:
        data = export_keyring(read_keyring(Path(args.keyring)), args.fingerprint)
    else:
        data = export_home(home_of(args), args.fingerprint)
    replace_file(output, data, MODE)
    names = tuple(public_keys_in(data))
    console.result(Exported(output, names), names)
    return 0


def _fingerprint(text: str) -> str:
    try:
        return fingerprint(text)
    except Malformed as error:
        raise argparse.ArgumentTypeError(str(error)) from None

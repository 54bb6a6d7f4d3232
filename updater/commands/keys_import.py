# SPDX-License-Identifier: Apache-2.0
"""Add public keys to a trusted keyring, or revocations and new dates of keys in it.

Secret keys are refused. The keyring is made if it is not there.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from updater.commands.keys_list import Listed, key_lines, listed
from updater.console import Console
from updater.kinds import local_path
from updater.releases.keys import import_keys
from updater.releases.signatures import read_keyring


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command line may say."""
    parser.add_argument("keyring", metavar="KEYRING", help="file to add to")
    parser.add_argument(
        "files", metavar="FILE", nargs="+", help="public keys or revocations, armored or not"
    )


def run(args: argparse.Namespace, console: Console) -> int:
    """Do it."""
    sources = [read_keyring(Path(file)) for file in args.files]
    keys = listed(import_keys(local_path(args.keyring), sources))
    console.result(Listed(keys), key_lines(keys))
    return 0

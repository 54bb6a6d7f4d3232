# SPDX-License-Identifier: Apache-2.0
"""List the keys of a trusted keyring, or of a GnuPG home.

caflip keys list KEYRING
caflip keys list [--gnupg-home=DIR]
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from updater.arguments import UsageError
from updater.console import Console
from updater.kinds import local_path
from updater.releases.gnupg_home import KeyFacts
from updater.releases.keys import list_home, list_keyring
from updater.releases.signatures import read_keyring
from updater.releases.times import format_time
from updater.trust_options import add_gnupg_home, home_of


@dataclass(frozen=True, slots=True)
class ListedKey:
    """A key; `state` is `valid`, `expired` or `revoked`."""

    fingerprint: str
    user_id: str
    created: datetime
    expires: datetime | None
    state: str


@dataclass(frozen=True, slots=True)
class Listed:
    """What `keys list` prints."""

    keys: tuple[ListedKey, ...]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command line may say."""
    parser.add_argument("keyring", metavar="KEYRING", nargs="?", help="trusted keyring")
    add_gnupg_home(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """Do it."""
    if args.keyring is not None and args.gnupg_home is not None:
        raise UsageError("keys list takes a keyring or --gnupg-home, not both")
    if args.keyring is not None:
        keys = listed(list_keyring(read_keyring(local_path(args.keyring))))
    else:
        keys = listed(list_home(home_of(args)))
    console.result(Listed(keys), key_lines(keys))
    return 0


def listed(keys: Sequence[KeyFacts]) -> tuple[ListedKey, ...]:
    """Return keys with their state at present, by fingerprint."""
    now = datetime.now(UTC)
    return tuple(
        ListedKey(key.fingerprint, key.user_id, key.created, key.expires, key.state(now))
        for key in sorted(keys, key=lambda key: key.fingerprint)
    )


def key_lines(keys: Sequence[ListedKey]) -> Iterator[str]:
    """Yield two lines a key."""
    for key in keys:
        until = "never" if key.expires is None else format_time(key.expires)
        yield key.fingerprint
        yield f"  {key.user_id}: {key.state}, created {format_time(key.created)}, expires {until}"

# SPDX-License-Identifier: Apache-2.0
"""Prove a release and its indexes, as a device does, or an index that is signed by itself.

    caflip release verify RELEASE --keyring=FILE [--fingerprint=FPR...] [--threshold=N]
    caflip release verify IMAGE.caibx --keyring=FILE

RELEASE is a channel, its latest.json, or a release.json: a path or a URL. Signatures, format, date
and indexes are looked at; what depends on the device is not: its kind, its slots, and what it had
before.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

from images.locator import Locator, parse_locator, without_query
from images.stores.options import StoreOptions, read_settings
from updater.arguments import UsageError
from updater.console import Console
from updater.options import add_store_settings
from updater.release_text import release_lines, signer_lines
from updater.releases.channel import (
    Fetch,
    fetch_index,
    fetch_release,
    fetcher,
    load_bare_index,
)
from updater.releases.clock import Reading, SystemClock, read_clock
from updater.releases.document import Release
from updater.releases.policy import judge_time
from updater.releases.proof import prove
from updater.releases.signatures import Signer, Trust
from updater.trust_options import add_trust, trust_of
from updater.units import count_of


@dataclass(frozen=True, slots=True)
class Verified:
    """What `release verify` prints.

    Attributes:
        release: None for an index that is signed by itself.
        digest: SHA-256 of the release's bytes.
        chunks: of each index, by class of slots; `""` for a bare index.
        rotates_to: version of the trust that it brings, None where it brings none.
        caveats: what could not be judged.
    """

    location: str
    release: Release | None
    digest: bytes | None
    signers: tuple[Signer, ...]
    chunks: dict[str, int]
    rotates_to: int | None
    caveats: tuple[str, ...]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command line may say."""
    parser.add_argument(
        "release", metavar="RELEASE", help="channel, release or .caibx: a path or a URL"
    )
    add_trust(parser)
    add_store_settings(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """Do it."""
    trust = trust_of(args)
    if trust is None:
        raise UsageError("release verify needs --keyring")
    location = parse_locator(args.release)
    options = StoreOptions(settings=read_settings(args.store_settings))
    fetch, reading = fetcher(options.settings_of), read_clock(SystemClock())
    bare = without_query(args.release).endswith(".caibx")
    verify = _verify_bare if bare else _verify
    verified = verify(location, trust, reading, fetch)
    for caveat in verified.caveats:
        console.warn(caveat)
    console.result(verified, _lines(verified))
    return 0


def _verify(location: Locator, trust: Trust, reading: Reading, fetch: Fetch) -> Verified:
    proved = prove(fetch_release(location, fetch), trust, reading.now)
    caveats = judge_time(proved.release, reading)
    names = sorted(proved.release.images)
    chunks = {name: len(fetch_index(proved, name, fetch)) for name in names}
    return Verified(
        proved.location.name,
        proved.release,
        proved.digest,
        proved.signers,
        chunks,
        None if proved.next_trust is None else proved.next_trust.version,
        caveats,
    )


def _verify_bare(location: Locator, trust: Trust, reading: Reading, fetch: Fetch) -> Verified:
    found = load_bare_index(location, trust, reading.now, fetch)
    chunks = {"": len(found.index)}
    return Verified(location.name, None, None, found.signers, chunks, None, found.caveats)


def _lines(verified: Verified) -> Iterator[str]:
    if verified.release is not None:
        yield from release_lines(verified.release)
    yield from signer_lines(verified.signers)
    for name, chunks in verified.chunks.items():
        yield f"index of {name or verified.location}: {count_of(chunks, 'chunk')}"
    if verified.rotates_to is not None:
        yield f"the new keys signed it as well: trust version {verified.rotates_to}"
    yield "verified"

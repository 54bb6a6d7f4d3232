# SPDX-License-Identifier: Apache-2.0
"""Print what a release says, who signed it, and whether it is trusted.

RELEASE is a channel, its latest.json, or a release.json: a path or a URL. The release is printed
whether it is trusted or not, which is said; `release verify` has an exit status.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

from images.locator import parse_locator
from images.stores.options import StoreOptions, read_settings
from updater.console import Console
from updater.errors import Expired, ReleaseRefused
from updater.options import add_store_settings
from updater.release_text import release_lines, signer_lines
from updater.releases.channel import fetch_release, fetcher
from updater.releases.clock import SystemClock, read_clock
from updater.releases.document import Release
from updater.releases.policy import judge_time
from updater.releases.proof import SignedRelease, prove
from updater.releases.signatures import Signer, Trust
from updater.trust_options import add_trust, trust_of


@dataclass(frozen=True, slots=True)
class Shown:
    """What `release show` prints.

    Attributes:
        trusted: None without a keyring.
        code, reason: why a device would refuse it, as far as that can be told here.
        caveats: what could not be judged.
    """

    location: str
    release: Release
    trusted: bool | None
    signers: tuple[Signer, ...]
    code: str | None
    reason: str | None
    caveats: tuple[str, ...]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command line may say."""
    parser.add_argument("release", metavar="RELEASE", help="channel or release, path or URL")
    add_trust(parser)
    add_store_settings(parser)


def run(args: argparse.Namespace, console: Console) -> int:
    """Do it."""
    trust = trust_of(args)
    options = StoreOptions(settings=read_settings(args.store_settings))
    signed = fetch_release(parse_locator(args.release), fetcher(options.settings_of))
    shown = _look_at(signed, trust)
    console.result(shown, _lines(shown))
    return 0


def _look_at(signed: SignedRelease, trust: Trust | None) -> Shown:
    reading = read_clock(SystemClock())
    refusal: ReleaseRefused | None = None
    signers: tuple[Signer, ...] = ()
    caveats: tuple[str, ...] = ()
    trusted = None
    try:
        if trust is not None:
            trusted = False
            signers = prove(signed, trust, reading.now).signers
            trusted = True
    except ReleaseRefused as error:
        refusal = error
    # Also what is not trusted is shown, to people; nothing is done with it.
    release = Release.parse(signed.raw)
    try:
        caveats = judge_time(release, reading)
    except Expired as error:
        refusal = refusal or error
    return Shown(
        signed.location.name,
        release,
        trusted,
        signers,
        None if refusal is None else refusal.code,
        None if refusal is None else str(refusal),
        caveats,
    )


def _lines(shown: Shown) -> Iterator[str]:
    yield from release_lines(shown.release)
    yield from signer_lines(shown.signers)
    yield from (f"note: {caveat}" for caveat in shown.caveats)
    if shown.trusted is None:
        yield "not verified: no --keyring was given"
    elif shown.trusted:
        yield "trusted"
    else:
        yield "NOT TRUSTED"
    if shown.reason is not None:
        yield f"refused: {shown.reason}"

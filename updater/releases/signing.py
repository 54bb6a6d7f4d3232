# SPDX-License-Identifier: Apache-2.0
"""Signatures beside a file: made with a GnuPG home, one added to those that are there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeAlias

from images.durable import os_errors, replace_file
from updater.errors import ChannelRefused, KeyringUnusable, SigningFailed, TooLong
from updater.releases.document import MAX_SIGNATURE_LENGTH, Release
from updater.releases.gnupg_home import open_home
from updater.releases.openpgp import Malformed, fingerprint, signatures_in
from updater.releases.signatures import MOST_SIGNATURES, Trust, verify_signatures

MODE = 0o644

Sign: TypeAlias = Callable[[bytes], bytes]
"""Return an armored detached signature of the bytes."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    """With what to sign.

    Attributes:
        home: GnuPG home that has the secret key; None for the user's own.
        key: fingerprint of the primary key.
        passphrase: None to leave it to the agent, which has none to ask for or asks for it.
    """

    home: Path | None
    key: str
    passphrase: str | None = None

    def sign(self, data: bytes) -> bytes:
        """Sign, and verify as a device does, so that no signature is published that fails there.

        Raises:
            SigningFailed: no such secret key, a wrong passphrase, an expired key.
            KeyringUnusable: no such home, or no gpg.
        """
        try:
            key = fingerprint(self.key)
        except Malformed as error:
            raise SigningFailed(
                f"the key to sign with: {error}",
                hint="`caflip keys list --gnupg-home=DIR` shows the fingerprints",
            ) from None
        with open_home(self.home) as home:
            try:
                trust = Trust.of(home.export_public([key]), [key])
            except KeyringUnusable as error:
                raise SigningFailed(f"{error}") from error
            signature = home.sign(data, key, self.passphrase)
        verify_signatures(data, signature, trust, datetime.now(UTC))
        return signature


def sign_file(path: Path, sign: Sign) -> int:
    """Add a signature to the `.asc` file beside a file, and return how many it holds then.

    A release is read first: nobody signs by mistake what devices refuse.

    Raises:
        NotAccessible: a file cannot be read or written.
        ReleaseMalformed, FormatUnknown: it is no release, though it ends in `.json`.
        ChannelRefused: the signature is there already, or the `.asc` file holds something else.
        TooLong: there would be more signatures than a device reads.
    """
    with os_errors(str(path)):
        data = path.read_bytes()
    if path.suffix == ".json":
        Release.parse(data)
    beside = path.with_name(f"{path.name}.asc")
    before = b""
    if beside.exists():
        with os_errors(str(beside)):
            before = beside.read_bytes()
    try:
        there = signatures_in(before)
        added = sign(data)
        new = [packet for packet in signatures_in(added) if packet not in there]
    except Malformed as error:
        raise ChannelRefused(f"{beside} does not hold detached signatures: {error}") from None
    if not new:
        raise ChannelRefused(f"{beside} has this signature already")
    count, after = len(there) + len(new), before + added
    if count > MOST_SIGNATURES or len(after) > MAX_SIGNATURE_LENGTH:
        raise TooLong(f"{beside} would have {count} signatures, more than a device reads")
    replace_file(beside, after, MODE)
    return count

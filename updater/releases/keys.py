# SPDX-License-Identifier: Apache-2.0
"""Key pairs for those who publish, and trusted keyrings for devices.

A trusted keyring is a file of public keys as packets, one after the other, in the order of their
fingerprints: what `gpg --export` writes and `gpgv --keyring` reads.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from images.durable import os_errors, replace_file
from updater.errors import KeyringUnusable, SigningFailed
from updater.releases.gnupg_home import GnupgHome, KeyFacts, open_home, temporary_home
from updater.releases.openpgp import (
    Armor,
    Malformed,
    Tag,
    armored,
    binary,
    packets_of,
    public_keys_in,
)
from updater.releases.signatures import read_keyring

MODE = 0o644
MAX_PASSPHRASE_LENGTH = 1024


def make_key(
    home: Path | None, user_id: str, valid_for: timedelta | None, passphrase: str | None
) -> str:
    """Make a key pair in a GnuPG home, and return its fingerprint; see `GnupgHome.make_key`."""
    with open_home(home, create=True) as opened:
        return opened.make_key(user_id, valid_for, passphrase)


def import_keys(keyring: Path, sources: Sequence[bytes]) -> list[KeyFacts]:
    """Add public keys to a trusted keyring, or revocations and new dates of those in it.

    Args:
        keyring: the file; made if it is not there.
        sources: armored or not. Secret keys are refused: they have no business here.

    Returns:
        All keys that it holds then.

    Raises:
        KeyringUnusable: something in it is no public key.
        NotAccessible, NoSpace, DeviceFault: the file cannot be read or written.
    """
    packets = [_public_packets(source) for source in sources]
    with temporary_home() as home:
        if keyring.exists():
            _load(home, read_keyring(keyring))
        for source in packets:
            home.import_public(source)
        replace_file(keyring, _minimal(home, ()), MODE)
        return home.keys()


def list_keyring(data: bytes) -> list[KeyFacts]:
    """Return the keys of a trusted keyring.

    Raises:
        KeyringUnusable: it is none.
    """
    with temporary_home() as home:
        _load(home, data)
        return home.keys()


def list_home(path: Path | None) -> list[KeyFacts]:
    """Return the keys of a GnuPG home; None for the user's own."""
    with open_home(path) as home:
        return home.keys()


def export_keyring(data: bytes, fingerprints: Sequence[str]) -> bytes:
    """Return the smallest keyring that has these keys, all of them if none is named.

    Raises:
        KeyringUnusable: one is not there, or the keyring is none.
    """
    with temporary_home() as home:
        _load(home, data)
        return _minimal(home, fingerprints)


def export_home(path: Path | None, fingerprints: Sequence[str]) -> bytes:
    """Return the smallest keyring that has these keys of a GnuPG home."""
    with open_home(path) as home:
        return _minimal(home, fingerprints)


def armored_keys(data: bytes) -> dict[str, str]:
    """Return each public key of a keyring in armor, by fingerprint: what a rotation carries."""
    return {name: armored(key, Armor.PUBLIC_KEY) for name, key in public_keys_in(data).items()}


def read_passphrase(path: Path) -> str:
    """Return the first line of a file.

    Raises:
        NotAccessible: it cannot be read.
        SigningFailed: it holds more than one line.
    """
    with os_errors(str(path)), open(path, "rb") as file:
        data = file.read(MAX_PASSPHRASE_LENGTH + 1)
    text = data.removesuffix(b"\n").removesuffix(b"\r").decode("utf-8", "replace")
    if len(data) > MAX_PASSPHRASE_LENGTH or not text or not text.isprintable():
        raise SigningFailed(f"{path} does not hold one line with a passphrase")
    return text


def _minimal(home: GnupgHome, fingerprints: Sequence[str]) -> bytes:
    keys = public_keys_in(home.export_public(fingerprints))
    return b"".join(keys[name] for name in sorted(keys))


def _load(home: GnupgHome, data: bytes) -> None:
    packets = _public_packets(data)
    if packets:
        home.import_public(packets)


def _public_packets(data: bytes) -> bytes:
    """Return the packets of a file of public keys or revocations, and refuse any other.

    What was looked at is what gpg gets.
    """
    try:
        packets = binary(data, Armor.PUBLIC_KEY, text_beside=True)
        for tag, _, _ in packets_of(packets):
            if tag not in frozenset(Tag):
                raise Malformed(f"a packet of type {tag}")
    except Malformed as error:
        raise KeyringUnusable(
            f"not a file of public keys: {error}",
            hint="`gpg --export --armor FINGERPRINT` writes one; secret keys stay where they are",
        ) from None
    return packets

# SPDX-License-Identifier: Apache-2.0
"""Who signed these bytes? Detached OpenPGP signatures against pinned keys, with a threshold.

Every signature is verified by itself, by a gpg that sees one signature, the bytes from memory, and
a keyring in a private folder: no configuration, keys, agent or network of anybody's. What counts is
the status it writes to a descriptor of its own (GnuPG `doc/DETAILS`): mixed with messages, lines
could be forged (CVE-2018-12020). Its exit status alone says too little: it is 0 for expired keys.

Time. gpg is told the time (`--faked-system-time`): the best guess of `clock.Reading`, or the moment
of the signature if that is later. It compares all dates of keys and signatures with that, so an
expired key is refused however wrong the clock. Keys and signatures "from the future" are accepted
(`--ignore-time-conflict`): where the clock is slow, all of them are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Self

from images.durable import os_errors
from images.errors import NotAccessible
from updater.errors import (
    KeyringUnusable,
    ReleaseRefused,
    SignatureMalformed,
    TooFewSignatures,
    TooLong,
    Unsigned,
    WrongKey,
)
from updater.releases.document import MAX_SIGNATURE_LENGTH
from updater.releases.openpgp import Malformed, fingerprint, public_keys_in, signatures_in
from updater.releases.verdicts import Verdict, Verifier

MOST_SIGNATURES = 16
"""In one file; each costs a process."""

MAX_KEYRING_LENGTH = 1 << 20


@dataclass(frozen=True, slots=True)
class Trust:
    """Whose signatures count.

    Attributes:
        keys: the public keys, as packets, by the fingerprint of the primary key.
        fingerprints: of the primary keys that are pinned; others in `keys` count for nothing.
        threshold: how many different ones have to sign.
        version: rises with each rotation; 0 is what the device was made with.
    """

    keys: dict[str, bytes] = field(repr=False)
    fingerprints: tuple[str, ...]
    threshold: int = 1
    version: int = 0

    @classmethod
    def of(
        cls, keyring: bytes, fingerprints: Sequence[str], threshold: int = 1, version: int = 0
    ) -> Self:
        """Put together what a configuration or the state says.

        Args:
            keyring: public keys, armored or not, one after the other.
            fingerprints: in any spelling; empty for all keys of the keyring.
            threshold: at least 1, at most as many as there are fingerprints.
            version: see the class.

        Raises:
            KeyringUnusable: no public keyring, a fingerprint that is none or has no key in it,
                or a threshold that cannot be reached.
        """
        try:
            keys = public_keys_in(keyring)
            pinned = tuple(dict.fromkeys(map(fingerprint, fingerprints))) or tuple(keys)
        except Malformed as error:
            raise KeyringUnusable(
                f"the keyring or its fingerprints: {error}",
                hint="`caflip keys import` makes a keyring of public keys",
            ) from None
        for name in pinned:
            if name not in keys:
                raise KeyringUnusable(
                    f"the keyring has no primary key {name}",
                    hint="`caflip keys list` shows what it has; subkeys cannot be pinned",
                )
        if not 1 <= threshold <= len(pinned):
            raise KeyringUnusable(
                f"a threshold of {threshold} with {len(pinned)} keys cannot be, or is none"
            )
        return cls(keys, pinned, threshold, version)

    @classmethod
    def load(cls, path: Path, fingerprints: Sequence[str], threshold: int = 1) -> Self:
        """Read a keyring file; see `of`.

        Raises:
            NotAccessible: it cannot be read.
            KeyringUnusable: it cannot be used.
        """
        return cls.of(read_keyring(path), fingerprints, threshold)

    @property
    def keyring(self) -> bytes:
        """The pinned keys as packets: what to store, and what `of` takes."""
        return b"".join(self.keys[name] for name in self.fingerprints)


@dataclass(frozen=True, slots=True)
class Signer:
    """A good signature by a pinned key.

    Attributes:
        fingerprint: of the primary key.
        signing_key: of the key that signed, which may be a subkey of it.
        user_id: as the key says, for people.
        signed: when, as the signer says.
    """

    fingerprint: str
    signing_key: str
    user_id: str
    signed: datetime


def verify_signatures(
    data: bytes, signature: bytes, trust: Trust, now: datetime
) -> tuple[Signer, ...]:
    """Verify a file of detached signatures over bytes in memory.

    Signatures that are not good do not spoil those that are: anybody can add one.

    Args:
        data: what was signed.
        signature: OpenPGP signatures, armored or not, one after the other.
        trust: whose count.
        now: `Reading.now`.

    Returns:
        The good signatures by pinned keys, one for each primary key: at least the threshold.

    Raises:
        Unsigned: there is no signature.
        SignatureMalformed: it is something else.
        WrongKey, KeyRefused, Tampered: no signature is good, for this reason.
        TooFewSignatures: some are good, and not enough.
        TooLong: more bytes or signatures than there may be.
        KeyringUnusable: there is no gpg, or it does not work.
    """
    verdicts = _verdicts(data, _taken_apart(signature), trust, now)
    good: dict[str, Signer] = {}
    for verdict in verdicts:
        if isinstance(verdict, Signer):
            good.setdefault(verdict.fingerprint, verdict)
    if len(good) >= trust.threshold:
        return tuple(good.values())
    refusals = [verdict for verdict in verdicts if isinstance(verdict, ReleaseRefused)]
    # What a pinned key did wrong says more than that strangers signed as well.
    refusals.sort(key=lambda refusal: isinstance(refusal, WrongKey))
    if not good and trust.threshold == 1:
        raise refusals[0]
    if not good and all(isinstance(refusal, WrongKey) for refusal in refusals):
        raise refusals[0]
    others = "".join(f"; {refusal}" for refusal in refusals)
    raise TooFewSignatures(
        f"signed by {len(good)} of the {trust.threshold} trusted keys that it takes{others}"
    )


def read_keyring(path: Path) -> bytes:
    """Read a file of public keys.

    Raises:
        NotAccessible: it cannot be read.
        KeyringUnusable: it is too long.
    """
    if not path.exists():
        raise NotAccessible(
            f"keyring {path}: No such file or directory",
            hint="put the keyring there that `caflip keys export` wrote",
        )
    with os_errors(f"keyring {path}"), open(path, "rb") as file:
        data = file.read(MAX_KEYRING_LENGTH + 1)
    if len(data) > MAX_KEYRING_LENGTH:
        raise KeyringUnusable(f"keyring {path} is longer than {MAX_KEYRING_LENGTH} bytes")
    return data


def _taken_apart(signature: bytes) -> list[bytes]:
    if not signature.strip():
        raise Unsigned("the signature file is empty")
    if len(signature) > MAX_SIGNATURE_LENGTH:
        raise TooLong(f"a signature of more than {MAX_SIGNATURE_LENGTH} bytes")
    try:
        packets = signatures_in(signature)
    except Malformed as error:
        raise SignatureMalformed(f"not a detached OpenPGP signature: {error}") from None
    if not packets:
        raise Unsigned("the signature file holds no signature")
    packets = list(dict.fromkeys(packets))
    if len(packets) > MOST_SIGNATURES:
        raise TooLong(f"{len(packets)} signatures; {MOST_SIGNATURES} are allowed")
    return packets


def _verdicts(
    data: bytes, packets: list[bytes], trust: Trust, now: datetime
) -> list[Signer | ReleaseRefused]:
    found: list[Signer | ReleaseRefused] = []
    with Verifier(trust.keyring) as verifier:
        for packet in packets:
            verdict = verifier.verify(data, packet, now)
            if verdict.signed is not None and verdict.signed > now:
                # A key that had expired when it signed is expired, though the clock is slow.
                verdict = verifier.verify(data, packet, verdict.signed)
            found.append(_signer(verdict, trust))
    return found


def _signer(verdict: Verdict, trust: Trust) -> Signer | ReleaseRefused:
    if verdict.refusal is not None:
        return verdict.refusal
    if verdict.primary not in trust.fingerprints:
        return WrongKey(f"signed by {verdict.primary}, which is not trusted here")
    assert verdict.signed is not None
    return Signer(verdict.primary, verdict.signing_key, verdict.user_id, verdict.signed)

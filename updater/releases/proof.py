# SPDX-License-Identifier: Apache-2.0
"""From bytes to a release that may be believed: lengths, signatures, parser, rotation, in order.

No byte of a release is parsed before its signatures are good, and what is parsed is what was
verified: the same bytes in memory.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime

from images.errors import IndexInvalid
from images.index import Index
from images.locator import Locator
from updater.errors import IndexMismatch, ReleaseRefused, RotationRefused, TooLong
from updater.releases.document import MAX_LENGTH, Release, ReleaseImage
from updater.releases.rotation import proposed_trust
from updater.releases.signatures import Signer, Trust, verify_signatures


@dataclass(frozen=True, slots=True)
class SignedRelease:
    """A release as it came: nothing is proved yet.

    Attributes:
        location: where it is; its indexes and relative stores are found from there.
        raw: the bytes of `release.json`.
        signature: the bytes of `release.json.asc`.
    """

    location: Locator
    raw: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class ProvedRelease:
    """A release that enough trusted keys signed.

    Attributes:
        location: see `SignedRelease`.
        release: what it says.
        digest: SHA-256 of its bytes, which names it in records.
        signers: who signed, one entry for each primary key.
        next_trust: to be stored once it has proved good, by way of `rotation.next_trust`;
            None where it rotates no keys.
    """

    location: Locator
    release: Release
    digest: bytes
    signers: tuple[Signer, ...]
    next_trust: Trust | None


def prove(signed: SignedRelease, trust: Trust, now: datetime) -> ProvedRelease:
    """Verify the signatures of a release, and read it.

    Args:
        signed: from `channel.fetch_release`.
        trust: in force on this device.
        now: `clock.Reading.now`.

    Raises:
        TooLong: it has more than `MAX_LENGTH` bytes.
        Unsigned, SignatureMalformed, WrongKey, KeyRefused, Tampered, TooFewSignatures: see
            `signatures.verify_signatures`.
        FormatUnknown, ReleaseMalformed: signed, and yet not a release that can be read.
        RotationRefused: the new keys that it brings did not sign it.
        KeyringUnusable: signatures cannot be checked here.
    """
    if len(signed.raw) > MAX_LENGTH:
        raise TooLong(f"a release of more than {MAX_LENGTH} bytes")
    signers = verify_signatures(signed.raw, signed.signature, trust, now)
    release = Release.parse(signed.raw)
    successor = proposed_trust(trust, release)
    if successor is not None:
        try:
            verify_signatures(signed.raw, signed.signature, successor, now)
        except ReleaseRefused as error:
            raise RotationRefused(
                f"by the keys of trust version {successor.version}: {error}"
            ) from error
    digest = hashlib.sha256(signed.raw).digest()
    return ProvedRelease(signed.location, release, digest, signers, successor)


def prove_index(data: bytes, image: ReleaseImage) -> Index:
    """Hold the bytes of an index against what a release says, and read it.

    Raises:
        IndexMismatch: it is another one, or describes an image of another length.
    """
    if len(data) != image.index_length:
        raise IndexMismatch(
            f"{image.index} has {len(data)} bytes; the release says {image.index_length}"
        )
    if hashlib.sha256(data).digest() != image.index_sha256:
        raise IndexMismatch(f"{image.index} has another digest than the release says")
    try:
        index = Index.parse(data)
    except IndexInvalid as error:
        raise IndexMismatch(f"{image.index} is what was signed, and no index: {error}") from error
    if index.blob_length != image.image_length:
        raise IndexMismatch(
            f"{image.index} describes {index.blob_length} bytes; "
            f"the release says {image.image_length}"
        )
    return index

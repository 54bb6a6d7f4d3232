# SPDX-License-Identifier: Apache-2.0
"""The release: one record, one form of bytes. Layout and every rule: docs/releases.md.

A release has exactly one serialisation. What is read and does not come back the same, byte for
byte, is refused: no two readers can then understand one signed file in two ways.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import NoReturn

from updater.errors import FormatUnknown, ReleaseMalformed
from updater.releases.fields import Fields, check_list, check_number, check_text, check_word
from updater.releases.names import check_class, check_fingerprint, check_index_name, check_store
from updater.releases.times import format_time

FORMAT = "caflip-release-1"

MAX_LENGTH = 256 << 10
"""Bytes of a release. All fields at their limits take less, keys of a rotation aside."""

MAX_SIGNATURE_LENGTH = 64 << 10
"""Bytes of the signature file: some 16 signatures of RSA-4096 keys, or 200 of ed25519 keys."""

MAX_INDEX_LENGTH = 64 << 20
"""Bytes of an index, whatever was signed: 1.6 million chunks, 100 GiB at the default sizes."""

MAX_NUMBER = (1 << 53) - 1
"""The largest integer that every JSON reader takes exactly (RFC 8259, 6)."""

ALL_DEVICES = 1000
"""Per mille."""

MOST_CLASSES = 16
MOST_VARIANTS = 64
MOST_STORES = 16
MOST_KEYS = 16


@dataclass(frozen=True, slots=True)
class FileSystem:
    """What stands in an image, by its superblock.

    Attributes:
        kind: as blkid(8) names it, such as `ext4`.
        length: bytes, None where the format does not record it.
        uuid: as blkid prints it, None where there is none.
    """

    kind: str
    length: int | None
    uuid: str | None


@dataclass(frozen=True, slots=True)
class ReleaseImage:
    """The image for one class of slots.

    Attributes:
        index: file name of its `.caibx`, relative to the release's folder.
        index_sha256, index_length: of that file.
        image_length, image_sha256: of the whole image.
        file_system: None where none is known.
    """

    index: str
    index_sha256: bytes
    index_length: int
    image_length: int
    image_sha256: bytes
    file_system: FileSystem | None = None


@dataclass(frozen=True, slots=True)
class TrustChange:
    """The keys that are to be trusted from now on.

    Attributes:
        version: higher than that of the trust it replaces.
        fingerprints: of primary keys, 40 or 64 upper-case hexadecimal digits.
        threshold: how many of them have to sign.
        keys: armored public keys, in the order of `fingerprints`.
    """

    version: int
    fingerprints: tuple[str, ...]
    threshold: int
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Release:
    """What is to be installed, on which devices, until when.

    Attributes:
        compatible: the kind of device.
        variants: of that kind; empty for all.
        version: for people.
        sequence: at least 1; a device goes up only.
        created, expires: UTC, whole seconds.
        images: by class of slots.
        stores: URLs, or paths relative to the release's folder, in the order to be asked.
        rollout: how many per mille of the devices; None for all.
        notes: for people, may have several lines.
        trust: a rotation of keys.
    """

    compatible: str
    version: str
    sequence: int
    created: datetime
    expires: datetime
    images: Mapping[str, ReleaseImage]
    stores: tuple[str, ...] = ()
    variants: tuple[str, ...] = ()
    rollout: int | None = None
    notes: str = ""
    trust: TrustChange | None = None

    def __post_init__(self) -> None:
        """Raises: `ReleaseMalformed` for whatever breaks a rule."""
        object.__setattr__(self, "images", MappingProxyType(dict(self.images)))
        _check(self)

    def to_bytes(self) -> bytes:
        """Return the one form of this release.

        Raises:
            ReleaseMalformed: it is longer than `MAX_LENGTH`.
        """
        data = canonical(_to_json(self))
        if len(data) > MAX_LENGTH:
            raise ReleaseMalformed(f"a release of {len(data)} bytes; {MAX_LENGTH} are allowed")
        return data

    @classmethod
    def parse(cls, data: bytes) -> Release:
        """Read the bytes of a release, whose signature was verified before.

        Raises:
            FormatUnknown: it is of another format than `FORMAT`.
            ReleaseMalformed: some rule of the format is broken.
        """
        if len(data) > MAX_LENGTH:
            raise ReleaseMalformed(f"a release of {len(data)} bytes; {MAX_LENGTH} are allowed")
        document = read_json(data)
        # The format comes before all other rules: those of a later one may be others.
        found = document.get("format")
        if isinstance(found, str) and found != FORMAT:
            raise FormatUnknown(f"a release of format {found[:64]!r}; {FORMAT!r} is known here")
        release = _from_json(document)
        if release.to_bytes() != data:
            raise ReleaseMalformed("the release is not in its canonical form")
        return release


def canonical(document: Mapping[str, object]) -> bytes:
    """Return JSON in the one form: sorted keys, two spaces a level, UTF-8, a newline at the end.

    Raises:
        ReleaseMalformed: a text cannot be encoded.
    """
    text = json.dumps(document, ensure_ascii=False, sort_keys=True, indent=2, allow_nan=False)
    try:
        return f"{text}\n".encode()
    except UnicodeEncodeError:
        raise ReleaseMalformed("a text holds half of a surrogate pair") from None


def read_json(data: bytes) -> dict[str, object]:
    """Read one JSON object without what JSON readers disagree on.

    Raises:
        ReleaseMalformed: no JSON object in UTF-8; a key twice; a number with a fraction, an
            exponent, or beyond `MAX_NUMBER`; too deep.
    """
    try:
        document = json.loads(
            data.decode("utf-8"),
            object_pairs_hook=_object,
            parse_int=_integer,
            parse_float=_no_number,
            parse_constant=_no_number,
        )
    except ReleaseMalformed:
        raise
    except RecursionError:
        raise ReleaseMalformed("nested too deep") from None
    except ValueError as error:  # also UnicodeDecodeError
        raise ReleaseMalformed(f"not JSON in UTF-8: {error}") from None
    if not isinstance(document, dict):
        raise ReleaseMalformed("not a JSON object")
    return document


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ReleaseMalformed("a key stands twice in one object")
    return found


def _integer(text: str) -> int:
    if len(text) > len(str(MAX_NUMBER)) or abs(int(text)) > MAX_NUMBER:
        raise ReleaseMalformed("a number beyond 2^53 - 1")
    return int(text)


def _no_number(text: str) -> NoReturn:
    raise ReleaseMalformed(f"{text[:32]} is not a whole number")


def _check(release: Release) -> None:
    check_word("compatible", release.compatible)
    check_text("version", release.version, 1, 128)
    check_text("notes", release.notes, 0, 16 << 10, lines=True)
    check_list("variants", release.variants, MOST_VARIANTS, check_word)
    check_list("stores", release.stores, MOST_STORES, check_store)
    check_number("sequence", release.sequence, 1, MAX_NUMBER)
    if release.rollout is not None:
        check_number("rollout", release.rollout, 0, ALL_DEVICES)
    if not release.created < release.expires:
        raise ReleaseMalformed("expires is not after created")
    if not 1 <= len(release.images) <= MOST_CLASSES:
        raise ReleaseMalformed(f"{len(release.images)} images, which is not 1 to {MOST_CLASSES}")
    for name, image in release.images.items():
        check_class(name)
        _check_image(f"images.{name}", image)
    if release.trust is not None:
        _check_trust(release.trust)


def _check_image(where: str, image: ReleaseImage) -> None:
    check_index_name(f"{where}.index", image.index)
    check_number(f"{where}.index_length", image.index_length, 1, MAX_INDEX_LENGTH)
    check_number(f"{where}.image_length", image.image_length, 1, MAX_NUMBER)
    for name, digest in (("index", image.index_sha256), ("image", image.image_sha256)):
        if len(digest) != 32:
            raise ReleaseMalformed(f"{where}.{name}_sha256 is not of 32 bytes")
    if image.file_system is not None:
        check_word(f"{where}.file_system.kind", image.file_system.kind)
        if image.file_system.length is not None:
            length = image.file_system.length
            check_number(f"{where}.file_system.length", length, 1, image.image_length)
        if image.file_system.uuid is not None:
            check_word(f"{where}.file_system.uuid", image.file_system.uuid)


def _check_trust(trust: TrustChange) -> None:
    from updater.releases.openpgp import armored_key_fingerprint

    check_number("trust.version", trust.version, 1, MAX_NUMBER)
    check_list("trust.fingerprints", trust.fingerprints, MOST_KEYS, check_fingerprint)
    if not trust.fingerprints or len(trust.keys) != len(trust.fingerprints):
        raise ReleaseMalformed("trust does not have one key for each fingerprint")
    check_number("trust.threshold", trust.threshold, 1, len(trust.fingerprints))
    for key, fingerprint in zip(trust.keys, trust.fingerprints, strict=True):
        check_text("trust.keys", key, 1, MAX_LENGTH, lines=True)
        if armored_key_fingerprint(key) != fingerprint:
            raise ReleaseMalformed(f"trust has another key in the place of {fingerprint}")


def _to_json(release: Release) -> dict[str, object]:
    trust = release.trust
    return {
        "format": FORMAT,
        "compatible": release.compatible,
        "variants": list(release.variants),
        "version": release.version,
        "sequence": release.sequence,
        "created": format_time(release.created),
        "expires": format_time(release.expires),
        "images": {name: _image_to_json(image) for name, image in release.images.items()},
        "stores": list(release.stores),
        "rollout": release.rollout,
        "notes": release.notes,
        "trust": trust
        and {
            "version": trust.version,
            "fingerprints": list(trust.fingerprints),
            "threshold": trust.threshold,
            "keys": list(trust.keys),
        },
    }


def _image_to_json(image: ReleaseImage) -> dict[str, object]:
    system = image.file_system
    return {
        "index": image.index,
        "index_sha256": image.index_sha256.hex(),
        "index_length": image.index_length,
        "image_length": image.image_length,
        "image_sha256": image.image_sha256.hex(),
        "file_system": system
        and {"kind": system.kind, "length": system.length, "uuid": system.uuid},
    }


def _from_json(document: dict[str, object]) -> Release:
    with Fields("release", document) as at:
        at.text("format")
        return Release(
            compatible=at.text("compatible"),
            variants=at.texts("variants"),
            version=at.text("version"),
            sequence=at.integer("sequence"),
            created=at.time("created"),
            expires=at.time("expires"),
            images={
                name: _image_from_json(f"images.{name}", image)
                for name, image in at.table("images").items()
            },
            stores=at.texts("stores"),
            rollout=at.optional("rollout", at.integer),
            notes=at.text("notes"),
            trust=_trust_from_json(at.optional("trust", at.table)),
        )


def _image_from_json(where: str, document: object) -> ReleaseImage:
    with Fields(where, document) as at:
        return ReleaseImage(
            index=at.text("index"),
            index_sha256=at.digest("index_sha256"),
            index_length=at.integer("index_length"),
            image_length=at.integer("image_length"),
            image_sha256=at.digest("image_sha256"),
            file_system=_file_system_from_json(where, at.optional("file_system", at.table)),
        )


def _file_system_from_json(where: str, document: object) -> FileSystem | None:
    if document is None:
        return None
    with Fields(f"{where}.file_system", document) as at:
        return FileSystem(
            kind=at.text("kind"),
            length=at.optional("length", at.integer),
            uuid=at.optional("uuid", at.text),
        )


def _trust_from_json(document: object) -> TrustChange | None:
    if document is None:
        return None
    with Fields("trust", document) as at:
        return TrustChange(
            version=at.integer("version"),
            fingerprints=at.texts("fingerprints"),
            threshold=at.integer("threshold"),
            keys=at.texts("keys"),
        )

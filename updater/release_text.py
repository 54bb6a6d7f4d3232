# SPDX-License-Identifier: Apache-2.0
"""A release as people read it."""

from __future__ import annotations

from collections.abc import Iterator

from updater.releases.document import Release, ReleaseImage
from updater.releases.signatures import Signer
from updater.releases.times import format_time
from updater.units import format_bytes

_WIDTH = 12


def release_lines(release: Release) -> Iterator[str]:
    """Yield what a release says, one fact a line."""
    variants = ", ".join(release.variants) or "all variants"
    yield from _facts(
        ("version", release.version),
        ("sequence", str(release.sequence)),
        ("for", f"{release.compatible} ({variants})"),
        ("created", format_time(release.created)),
        ("expires", format_time(release.expires)),
    )
    for slot_class, image in sorted(release.images.items()):
        yield from _facts((slot_class, _image(image)))
    yield from _facts(*(("store", store) for store in release.stores))
    if release.rollout is not None:
        yield from _facts(("roll-out", f"{release.rollout} per mille of the devices"))
    if release.trust is not None:
        change = release.trust
        yield from _facts(
            ("new keys", f"version {change.version}, {change.threshold} of these have to sign:"),
            *(("", fingerprint) for fingerprint in change.fingerprints),
        )
    yield from _facts(*(("notes", line) for line in release.notes.splitlines()))


def signer_lines(signers: tuple[Signer, ...]) -> Iterator[str]:
    """Yield who signed."""
    for signer in signers:
        yield from _facts(
            ("signed by", f"{signer.user_id} at {format_time(signer.signed)}"),
            ("", signer.fingerprint),
        )


def _image(image: ReleaseImage) -> str:
    system = image.file_system
    kind = "" if system is None else f", {system.kind}"
    return f"{format_bytes(image.image_length)}{kind}, {image.index}"


def _facts(*facts: tuple[str, str]) -> Iterator[str]:
    for name, text in facts:
        yield f"{f'{name}:' if name else '':<{_WIDTH}}{text}"

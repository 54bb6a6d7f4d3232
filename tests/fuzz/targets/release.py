# SPDX-License-Identifier: Apache-2.0
"""Any bytes are refused, or a release of exactly these bytes."""

from __future__ import annotations

import json

from updater.errors import FormatUnknown, ReleaseMalformed
from updater.releases.document import Release, canonical

LONGEST = 4096


def fuzz(data: bytes) -> bool:
    return any([_taken(data), _taken(_canonical(data))])


def _taken(data: bytes) -> bool:
    try:
        release = Release.parse(data)
    except (FormatUnknown, ReleaseMalformed):
        return False
    assert release.to_bytes() == data
    assert release.created < release.expires
    assert release.sequence >= 1
    for image in release.images.values():
        parts = image.index.split("/")
        assert image.index.endswith(".caibx") and not {"", ".", ".."} & set(parts)
        assert len(image.index_sha256) == len(image.image_sha256) == 32
        if image.file_system is not None and image.file_system.length is not None:
            assert 0 < image.file_system.length <= image.image_length
    return True


def _canonical(data: bytes) -> bytes:
    """Write JSON in the one form: else hardly any change gets past the comparison with it."""
    try:
        document = json.loads(data)
        return canonical(document) if isinstance(document, dict) else data
    except (ValueError, RecursionError, ReleaseMalformed):
        return data

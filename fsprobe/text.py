# SPDX-License-Identifier: Apache-2.0
"""Labels and UUIDs as blkid(8) prints them."""

from __future__ import annotations

import uuid


def label_of(raw: bytes, encoding: str = "utf-8") -> str | None:
    """Decode a NUL-terminated or blank-padded label; None when it is empty."""
    if encoding.startswith("utf-16"):
        text = raw.decode(encoding, "replace").split("\0", 1)[0]
    else:
        text = raw.split(b"\0", 1)[0].decode(encoding, "replace")
    return text.rstrip() or None


def uuid_of(raw: bytes) -> str | None:
    """Format 16 bytes in big-endian field order (RFC 4122); None when all are zero."""
    return str(uuid.UUID(bytes=raw)) if any(raw) else None

# SPDX-License-Identifier: Apache-2.0
"""A blob that anybody can make, and what Debian's casync 2+20201210 makes of it."""

from __future__ import annotations

import hashlib
import struct

VECTOR_ENDS = [
    80921, 138220, 187412, 237372, 296795, 348909, 437333, 483751,
    584033, 676269, 776182, 792964, 865744, 907329, 945783, 1000000,
]  # fmt: skip
VECTOR_INDEX_SHA256 = "1dc0e85627db907b08bcb7cd1803d8ca4072de62e32ef5ffd0210d7dfdb40aae"
VECTOR_DIGEST = "3ac491f34e8e71f15abad55c4d650a7abcb7cbbd4f91ff29b405fe2140ef70d4"
VECTOR_SMALL_INDEX_SHA256 = "f48824c457987d1134cafb822fb1ec5ad2ae69589e19d67a125859ccbd574744"
"""With `--chunk-size=1K:4K:16K --digest=sha256`: 247 chunks."""


def vector_blob() -> bytes:
    """Return a million bytes: SHA-256 of the little-endian u64 0, 1, 2, ... in a row."""
    return b"".join(hashlib.sha256(struct.pack("<Q", i)).digest() for i in range(31250))

# SPDX-License-Identifier: Apache-2.0
"""Who takes a chunk from the origin: rendezvous hashing over the devices that update now.

Every device computes the same owner for a chunk from the identities alone. When one joins or
leaves, only its own chunks change hands. (Thaler and Ravishankar, "Using name-based mappings to
increase hit rates", 1998.)

A device takes its chunks in the order of their scores. Those with the highest stay its own
whoever else turns up, so that little is fetched twice before all have seen each other.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

from images.stores.protocol import ChunkRef


def score(identity: str, chunk_id: bytes) -> bytes:
    """Return how much a device wants a chunk; the highest of all owns it."""
    return hashlib.blake2b(chunk_id, digest_size=8, key=identity.encode()).digest()


def shares(members: Iterable[str], wanted: Iterable[ChunkRef]) -> Mapping[str, list[ChunkRef]]:
    """Return the chunks that each member owns, those it wants most first."""
    names = sorted(set(members))
    owned: dict[str, list[tuple[bytes, ChunkRef]]] = {name: [] for name in names}
    for ref in wanted:
        best, owner = max((score(name, ref.id), name) for name in names)
        owned[owner].append((best, ref))
    return {
        name: [ref for _, ref in sorted(found, key=lambda one: one[0], reverse=True)]
        for name, found in owned.items()
    }

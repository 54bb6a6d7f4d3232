# SPDX-License-Identifier: Apache-2.0
"""Whatever a neighbour asks: it gets no byte but those of a chunk that is there, and what may be
known; who has to prove that it knows the site's secret, and does not, gets nothing.

A byte, of which the lowest bit says whether there is a secret, then a request head.
"""

from __future__ import annotations

import base64
import json
import os
import random

from images.chunkfile import unpack
from images.digests import ChunkId, Digest
from images.http_message import Malformed, parse_request
from images.http_server import OpenFile, Refusal
from images.index import Index, IndexBuilder
from images.sizes import ChunkSizes
from updater.peers.holdings import COMING, HERE, Held, Holdings, presence
from updater.peers.service import ID_LENGTH, MOST_ASKED, About, Service
from updater.peers.site import Site

LONGEST = 1024
LENGTH = 100
LOCAL = "10.0.0.1:80"
OPEN, CLOSED = Site("here", None), Site("here", bytes(16))
CHUNKS = {
    ChunkId(Digest.SHA512_256.of(data)): data
    for data in (random.Random(seed).randbytes(LENGTH) for seed in range(3))
}
"""Here, asked of the origin, and neither."""

_ABOUT = About("0123456789abcdef", None, ("fedcba9876543210",))


def _index() -> Index:
    builder = IndexBuilder(ChunkSizes.of(1024), Digest.SHA512_256)
    for number, chunk_id in enumerate(CHUNKS, 1):
        builder.append(number * LENGTH, chunk_id)
    return builder.finish()


def _services() -> dict[bool, Service]:
    index, fd = _index(), os.memfd_create("slot")
    os.write(fd, b"".join(CHUNKS.values()))
    held = Held(index, fd, 0, presence(index))
    here, coming, _ = CHUNKS
    held.note(here, HERE)
    held.note(coming, COMING)
    holdings = Holdings([held])
    return {
        closed: Service(site, _ABOUT, holdings) for closed, site in ((False, OPEN), (True, CLOSED))
    }


_SERVICES = _services()


def fuzz(data: bytes) -> bool:
    closed = bool(data[:1] and data[0] & 1)
    try:
        asked = parse_request(data[1:])
    except Malformed:
        return False
    found = _SERVICES[closed](asked, LOCAL)
    assert not isinstance(found, OpenFile)
    if isinstance(found, Refusal):
        return False
    if closed:
        assert f"?{asked.query}" == CLOSED.query(LOCAL, asked.path)
    here, coming, _ = CHUNKS
    if asked.path == "/peer":
        assert json.loads(found)["identity"] == _ABOUT.identity
    elif asked.path.startswith("/have/"):
        ids = base64.urlsafe_b64decode(asked.path.removeprefix("/have/") + "==")
        wanted = [ChunkId(ids[at : at + ID_LENGTH]) for at in range(0, len(ids), ID_LENGTH)]
        assert 0 < len(wanted) <= MOST_ASKED
        assert found == _bits(wanted, here) + _bits(wanted, coming)
    else:
        assert here.hex() in asked.path
        compressed = asked.path.endswith(".cacnk")
        assert unpack(found, LENGTH, here, compressed) == CHUNKS[here]
    return True


def _bits(wanted: list[ChunkId], only: ChunkId) -> bytes:
    bits = "".join("01"[chunk_id == only] for chunk_id in reversed(wanted))
    return int(bits, 2).to_bytes(-(-len(wanted) // 8), "little")

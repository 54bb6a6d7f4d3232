# SPDX-License-Identifier: Apache-2.0
"""What neighbours may ask, by GET and HEAD:

    /abcd/abcd….cacnk    a chunk as a store has it, compressed; casync and desync read it, too
    /abcd/abcd…          the same as it is
    /have/IDS            which of these chunks are here: ids in base64url without padding, 32 bytes
                         each; the answer is a bit for each, the lowest of the first byte first,
                         and again so many bits for those that have been asked of the origin
    /peer                who we are, in JSON: version, identity, updating, holds

Nothing else exists. With a site secret, what does not prove that it knows it is refused. No answer
but a chunk is longer than what asked for it.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from images.chunkfile import encode
from images.compression import Compression
from images.digests import ChunkId
from images.http_message import Asked
from images.http_server import Found, Refusal
from updater.peers.holdings import Holdings
from updater.peers.site import Site

VERSION = 1
ID_LENGTH = 32
MOST_ASKED = 1024
"""Ids in one question; their path has to fit into `HEAD_BYTES`."""

HEAD_BYTES = 48 << 10

QUIET_S, LINGER_S = 3.0, 120.0

_CHUNK = re.compile(r"/([0-9a-f]{4})/(\1[0-9a-f]{60})(\.cacnk)?")
_HAVE = re.compile(r"/have/([A-Za-z0-9_-]+)")


@dataclass(frozen=True, slots=True)
class About:
    """What a peer says of itself.

    Attributes:
        identity: random, and another one each time that it starts.
        updating: tag of the release that it is taking; None while it takes none.
        holds: tags of the indexes that it has chunks of.
    """

    identity: str
    updating: str | None = None
    holds: tuple[str, ...] = ()


class Service:
    """Answers what neighbours ask; an `images.http_server.Finder`."""

    def __init__(self, site: Site, about: About, holdings: Holdings) -> None:
        self._site = site
        self._about = json.dumps({"version": VERSION, **asdict(about)}).encode()
        self._holdings = holdings
        self._asked = threading.Event()

    def __call__(self, asked: Asked, local: str) -> Found:
        """Find what is asked."""
        if not self._site.admits(local, asked.path, asked.query):
            return Refusal(403)
        self._asked.set()
        if asked.path == "/peer":
            return self._about
        if match := _CHUNK.fullmatch(asked.path):
            return self._chunk(ChunkId(bytes.fromhex(match[2])), match[3] is not None)
        if match := _HAVE.fullmatch(asked.path):
            return self._have(match[1])
        return Refusal(404)

    def linger(self) -> None:
        """Wait until nobody has asked for `QUIET_S`, but no longer than `LINGER_S`.

        Who is through first has most of what the others still lack.
        """
        end_s = time.monotonic() + LINGER_S
        while self._asked.wait(QUIET_S) and time.monotonic() < end_s:
            self._asked.clear()

    def _chunk(self, chunk_id: ChunkId, compressed: bool) -> Found:
        data = self._holdings.read(chunk_id)
        if data is None:
            return Refusal(404)
        return encode(data, Compression.ZSTD) if compressed else data

    def _have(self, text: str) -> Found:
        try:
            ids = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        except binascii.Error:
            return Refusal(404)
        if not ids or len(ids) % ID_LENGTH or len(ids) > MOST_ASKED * ID_LENGTH:
            return Refusal(404)
        wanted = [ChunkId(ids[n : n + ID_LENGTH]) for n in range(0, len(ids), ID_LENGTH)]
        here = _bits([self._holdings.has(chunk_id) for chunk_id in wanted])
        return here + _bits([self._holdings.is_coming(chunk_id) for chunk_id in wanted])


def _bits(states: Sequence[bool]) -> bytes:
    number = sum(1 << place for place, state in enumerate(states) if state)
    return number.to_bytes(-(-len(states) // 8), "little")


def question(ids: list[ChunkId]) -> str:
    """Return the path that asks for at most `MOST_ASKED` chunks."""
    return "/have/" + base64.urlsafe_b64encode(b"".join(ids)).rstrip(b"=").decode()

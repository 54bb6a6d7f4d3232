# SPDX-License-Identifier: Apache-2.0
"""Asking one neighbour, who may be anybody: short deadlines, capped answers, no redirects.

What it delivers is digested before it is used, as from any store. The first wrong, truncated or
oversized answer costs it its place for the update; until then it is asked for few chunks at a time,
so that what it can waste is bounded, too.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from images.digests import Digest
from images.errors import ChunkInvalid, ChunkMissing, ImageError, Refused, StoreUnavailable
from images.fetch import fetch_bytes
from images.locator import HttpUrl
from images.stores.http import HttpStore
from images.stores.protocol import Answer, ChunkRef
from images.stores.settings import HttpSettings
from updater.peers.service import MOST_ASKED, VERSION, About, question
from updater.peers.site import Site

SETTINGS = HttpSettings(
    proxy="",
    connect_timeout_s=4.0,
    low_speed_bps=16 << 10,
    low_speed_time_s=4,
    deadline_s=6.0,
    in_flight_min=2,
    in_flight_start=4,
    in_flight_max=8,
    redirects_max=0,
)

LEAST_RATE_BPS = 64 << 10
"""A neighbour that is slower than that holds us up more than it saves."""
JUDGED_AFTER_S = 5.0

MOST_MISSING = 16
"""So often a neighbour may not have what it said it had."""

MOST_SILENT = 2
"""So often in a row it may not answer what it has: a weak device that updates is busy."""

FIRST_BATCH, MOST_BATCH = 2, 32
BATCH_S = 0.5

_MOST_ABOUT = 4096
_IDENTITY = re.compile(r"[0-9a-f]{16,32}")
_TAG = re.compile(r"[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class Peer:
    """A neighbour.

    Attributes:
        about: what it says of itself.
        host: numeric address, with a zone where it is link-local.
        given: by configuration, not by discovery.
    """

    about: About
    host: str
    port: int
    given: bool = False

    @property
    def address(self) -> str:
        """Host and port as URLs have them, without a zone."""
        return _authority(self.host.partition("%")[0], self.port)


@dataclass(frozen=True, slots=True)
class Said:
    """What a neighbour says of chunks: which it has, and which it has asked the origin for."""

    here: list[ChunkRef]
    coming: list[ChunkRef]


@dataclass(frozen=True, slots=True)
class PeerReport:
    """What a neighbour did in one update.

    Attributes:
        address: where it is.
        chunks, bytes: delivered; bytes as they came.
        wasted_bytes: that were of no use.
        rate_bps: while it was asked.
        dropped: why it was not asked any more; None if it was to the end.
    """

    address: str
    chunks: int
    bytes: int
    wasted_bytes: int
    rate_bps: int
    dropped: str | None


class Client:
    """One neighbour, for one update.

    Attributes:
        peer: whom we ask.
        dropped: why it is not asked any more; None while it is.
    """

    def __init__(self, peer: Peer, site: Site) -> None:
        self.peer = peer
        self.dropped: str | None = None
        self._site = site
        self._base = f"http://{_authority(peer.host.replace('%', '%25'), peer.port)}"
        self._store = HttpStore(HttpUrl(self._base, None), SETTINGS, sign=self._sign)
        self._chunks = self._bytes = self._wasted = self._missing = self._silent = 0
        self._busy_s = 0.0

    @property
    def batch(self) -> int:
        """Return how many chunks to ask for at once: half a second's worth."""
        if not self._chunks or not self._busy_s:
            return FIRST_BATCH
        return max(FIRST_BATCH, min(MOST_BATCH, int(BATCH_S * self._chunks / self._busy_s)))

    @property
    def report(self) -> PeerReport:
        """What it did so far."""
        rate = int(self._bytes / self._busy_s) if self._busy_s else 0
        return PeerReport(
            self.peer.address, self._chunks, self._bytes, self._wasted, rate, self.dropped
        )

    def have(self, refs: Sequence[ChunkRef]) -> Said:
        """Return what it says of chunks; nothing, when it does not answer."""
        try:
            said = self._have(refs)
        except StoreUnavailable:
            self._silent += 1
            if self._silent > MOST_SILENT:
                self.dropped = "does not answer"
            return Said([], [])
        except ImageError as error:
            self.dropped = f"does not answer as it should: {error}"
            return Said([], [])
        self._silent = 0
        return said

    def _have(self, refs: Sequence[ChunkRef]) -> Said:
        said = Said([], [])
        for first in range(0, len(refs), MOST_ASKED):
            part = refs[first : first + MOST_ASKED]
            length = -(-len(part) // 8)
            body = self._get(question([ref.id for ref in part]), 2 * length)
            if len(body) != 2 * length:
                raise ChunkInvalid(f"{len(body)} bytes for {len(part)} chunks")
            here, coming = (int.from_bytes(b, "little") for b in (body[:length], body[length:]))
            said.here.extend(ref for n, ref in enumerate(part) if here >> n & 1)
            said.coming.extend(ref for n, ref in enumerate(part) if coming >> n & 1)
        return said

    def fetch(self, refs: Sequence[ChunkRef], digest: Digest) -> Iterator[Answer]:
        """Yield an answer for each chunk, until it lost its place."""
        answers = self._store.fetch(refs, digest)
        started_s = time.monotonic()
        for answer in answers:
            now_s = time.monotonic()
            self._busy_s += now_s - started_s
            if answer.error is None:
                self._chunks += 1
                self._bytes += answer.transferred
            else:
                self._judge(answer)
            yield answer
            started_s = time.monotonic()
            if self.dropped is not None:
                return
        if self._busy_s > JUDGED_AFTER_S and self._bytes < self._busy_s * LEAST_RATE_BPS:
            self.dropped = "too slow"

    def waste(self, length: int) -> None:
        """Count bytes that somebody else was quicker with."""
        self._wasted += length

    def close(self) -> None:
        """End connections."""
        self._store.close()

    def _judge(self, answer: Answer) -> None:
        self._wasted += answer.transferred
        if isinstance(answer.error, ChunkMissing):
            self._missing += 1
            if self._missing > MOST_MISSING:
                self.dropped = "has not what it says it has"
        else:
            self.dropped = str(answer.error)

    def _get(self, path: str, limit: int) -> bytes:
        return fetch_bytes(HttpUrl(f"{self._base}{path}{self._sign(path)}", None), SETTINGS, limit)

    def _sign(self, path: str) -> str:
        return self._site.query(self.peer.address, path)


def ask_about(host: str, port: int, site: Site) -> Peer:
    """Ask a neighbour who it is.

    Args:
        host: numeric.
        port: of it.
        site: ours.

    Raises:
        ImageError: it does not answer, or not as it should.
    """
    address = _authority(host.partition("%")[0], port)
    url = f"http://{_authority(host.replace('%', '%25'), port)}/peer{site.query(address, '/peer')}"
    body = fetch_bytes(HttpUrl(url, None), SETTINGS, _MOST_ABOUT)
    return Peer(parse_about(address, body), host, port, given=True)


def parse_about(address: str, body: bytes) -> About:
    """Read what a neighbour answers when it is asked who it is.

    Raises:
        StoreUnavailable: it speaks another version.
        Refused: it is no neighbour's answer.
    """
    try:
        said = json.loads(body)
        if said["version"] != VERSION:
            raise StoreUnavailable(f"{address} speaks version {said['version']!r:.20}")
        identity, updating, holds = said["identity"], said["updating"], said["holds"]
        tags = [*holds, *([] if updating is None else [updating])]
        if not _IDENTITY.fullmatch(identity) or not all(map(_TAG.fullmatch, tags)):
            raise ValueError
    except (ValueError, KeyError, TypeError, RecursionError):
        raise Refused(f"{address} does not answer as a peer should") from None
    return About(identity, updating, tuple(holds))


def _authority(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

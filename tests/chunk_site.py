# SPDX-License-Identifier: Apache-2.0
"""Chunks, and a faulty server that has them below `/castr`."""

from __future__ import annotations

import hashlib
import ssl
import threading
from typing import Self

from images.chunkfile import encode, relative_path
from images.compression import Compression
from images.digests import ChunkId, Digest
from images.locator import HttpUrl, parse_locator
from images.stores.http import HttpStore
from images.stores.protocol import Answer, ChunkRef
from images.stores.settings import HttpSettings
from tests.faulty_server import FaultyServer

ANSWER_TIMEOUT_S = 60.0

QUICK = HttpSettings(connect_timeout_s=2, low_speed_time_s=1, deadline_s=4)
"""For tests of stalls and deadlines. A busy machine may see one where there is none."""

CALM = HttpSettings(connect_timeout_s=20, low_speed_time_s=20, deadline_s=60)
"""For all others: only what the server does on purpose is a fault."""


def chunk_bytes(number: int, length: int) -> bytes:
    """Return bytes that do not compress, the same every time."""
    seed = number.to_bytes(8, "little")
    return hashlib.shake_128(seed).digest(length)


def http_url(text: str) -> HttpUrl:
    """Parse what has to be an http(s) URL."""
    locator = parse_locator(text)
    assert isinstance(locator, HttpUrl)
    return locator


class ChunkSite:
    """`count` chunks of `length` bytes, served.

    Attributes:
        refs: numbered from 0.
        data: what the chunks hold.
    """

    def __init__(self, count: int, length: int = 3000, tls: ssl.SSLContext | None = None) -> None:
        self.data = [chunk_bytes(number, length) for number in range(count)]
        self.refs = [
            ChunkRef(number, Digest.SHA512_256.of(data), length)
            for number, data in enumerate(self.data)
        ]
        self.bodies = [encode(data, Compression.ZSTD) for data in self.data]
        files = {self.path(number): body for number, body in enumerate(self.bodies)}
        self.server = FaultyServer(files, tls)
        self.url = f"{self.server.url}/castr"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.server.close()

    def path(self, number: int) -> str:
        """Return where a chunk is on the server."""
        return f"/castr/{relative_path(self.refs[number].id, '.cacnk')}"

    def missing(self, number: int) -> ChunkRef:
        """Return a ref to a chunk that is not there."""
        return ChunkRef(number, ChunkId(hashlib.sha256(b"%d" % number).digest()), 3000)

    def ask(
        self,
        refs: list[ChunkRef] | None = None,
        settings: HttpSettings = CALM,
        url: str | None = None,
    ) -> list[Answer]:
        """Fetch with a new store, and return the answers in the order of `refs`.

        Whatever is delivered has been compared with the chunk.
        """
        refs = self.refs if refs is None else refs
        answers = fetch(http_url(url or self.url), refs, settings)
        for answer in answers:
            assert (answer.data is None) == (answer.error is not None)
            assert answer.data is None or answer.data == self.data[answer.ref.number]
        return answers


def fetch(url: HttpUrl, refs: list[ChunkRef], settings: HttpSettings = CALM) -> list[Answer]:
    """Fetch from a new store, and return exactly one answer for each ref, in their order."""
    store = HttpStore(url, settings)
    answers: list[Answer] = []

    def run() -> None:
        answers.extend(store.fetch(iter(refs), Digest.SHA512_256))

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(ANSWER_TIMEOUT_S)
    assert not thread.is_alive(), "the store does not come to an end"
    store.close()
    order = {ref.number: position for position, ref in enumerate(refs)}
    answers.sort(key=lambda answer: order[answer.ref.number])
    assert [answer.ref for answer in answers] == refs
    return answers

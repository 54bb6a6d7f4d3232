# SPDX-License-Identifier: Apache-2.0
"""A chunk store behind HTTP or HTTPS, with many requests in flight.

Three kinds of threads: the caller's, which says what is wanted and takes the answers; one that
drives all requests (`flight.py`); a few that decompress and digest, with the interpreter lock
released.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from queue import Empty, SimpleQueue
from typing import TypeAlias, TypeVar

from images.chunkfile import compressed_suffix, longest_body, relative_path
from images.digests import Digest
from images.errors import ChunkMissing, StoreUnavailable
from images.locator import HttpUrl, chunk_base
from images.parallel import default_threads
from images.stores.decoding import Body, Decoders
from images.stores.flight import Flight, Outcome
from images.stores.health import Health
from images.stores.pace import TokenBucket
from images.stores.protocol import Answer, ChunkRef, Stat
from images.stores.rules import Attempts
from images.stores.settings import HttpSettings
from images.stores.transfer import Request, Transfer, new_transfer

_T = TypeVar("_T", Answer, Stat)
_Results: TypeAlias = "SimpleQueue[_T | Exception]"

_MOST_HELD = 12 << 20
_AHEAD = 2
"""Wanted chunks taken in advance, as a multiple of the most that can be in flight: while the caller
writes one chunk, the next requests have to be known."""


def _unsigned(path: str) -> str:
    """Prove nothing."""
    return ""


class HttpStore:
    """A `Store` of chunk files on a web server."""

    def __init__(
        self,
        url: HttpUrl,
        settings: HttpSettings | None = None,
        *,
        sign: Callable[[str], str] = _unsigned,
    ) -> None:
        """Connect to nothing yet.

        Args:
            url: of the store.
            settings: how to ask; None for the usual way.
            sign: from the path of a chunk, such as `/abcd/abcd….cacnk`, to the query that proves
                our right to ask.
        """
        self._settings = HttpSettings() if settings is None else settings
        self._authorization = url.authorization
        self._base = chunk_base(url.url)
        self._suffix = compressed_suffix()
        self._health = Health(self._base, self._settings)
        self._bucket = TokenBucket(self._settings.rate_limit_bps)
        self._sign = sign
        self._idle: list[Transfer] = []
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        """The URL without credentials and query."""
        return self._base

    @property
    def remote(self) -> bool:
        """Asking costs a round trip."""
        return True

    def fetch(self, wanted: Iterable[ChunkRef], digest: Digest) -> Iterator[Answer]:
        """Yield one answer for each wanted chunk, as they come."""
        results: _Results[Answer] = SimpleQueue()
        decoders = Decoders(self.name, digest, default_threads(), results.put, results.put)

        def done(outcome: Outcome) -> None:
            if outcome.body is None:
                answer = Answer(outcome.ref, None, outcome.error, outcome.transferred, self.name)
                results.put(answer)
            else:
                decoders.offer(Body(outcome.ref, outcome.body, outcome.transferred))

        try:
            yield from self._exchange(wanted, False, results, done)
        finally:
            decoders.close()

    def stat(self, wanted: Iterable[ChunkRef]) -> Iterator[Stat]:
        """Yield for each wanted chunk whether the server has it, by HEAD requests.

        Raises:
            StoreUnavailable: it did not say.
        """
        results: _Results[Stat] = SimpleQueue()

        def done(outcome: Outcome) -> None:
            error = outcome.error
            if error is None:
                results.put(Stat(outcome.ref, True, outcome.content_length))
            elif isinstance(error, ChunkMissing):
                results.put(Stat(outcome.ref, False, None))
            else:
                results.put(StoreUnavailable(str(error), hint=error.hint))

        yield from self._exchange(wanted, True, results, done)

    def close(self) -> None:
        """End connections."""
        with self._lock:
            idle, self._idle = self._idle, []
        for transfer in idle:
            transfer.close()

    def _exchange(
        self,
        wanted: Iterable[ChunkRef],
        head: bool,
        results: _Results[_T],
        done: Callable[[Outcome], None],
    ) -> Iterator[_T]:
        """Ask for everything, and yield the results that `done` puts."""
        transfer = self._take_transfer()
        flight = Flight(
            transfer,
            self._settings,
            self._health,
            self._bucket,
            sys.maxsize if head else min(_MOST_HELD, self._settings.rate_limit_bps or _MOST_HELD),
            lambda ref: self._attempts(ref, head),
            done,
            results.put,
        )
        finished = False
        try:
            most_open = _AHEAD * self._settings.in_flight_max
            refs, more, still_open = iter(wanted), True, 0
            while more or still_open:
                try:
                    result = results.get(block=not more or still_open >= most_open)
                except Empty:
                    ref = next(refs, None)
                    if ref is None:
                        more = False
                    else:
                        still_open += 1
                        flight.offer(ref)
                    continue
                if isinstance(result, Exception):
                    raise result
                still_open -= 1
                yield result
                flight.release(result.ref.length)
            finished = True
        finally:
            flight.close()
            self._give_back(transfer, usable=finished and not flight.abandoned)

    def _attempts(self, ref: ChunkRef, head: bool) -> Attempts:
        path = f"/{relative_path(ref.id, self._suffix)}"
        request = Request(
            url=f"{self._base}{path}{self._sign(path)}",
            head=head,
            credentials=True,
            limit=longest_body(ref.length),
        )
        name = f"{self._base}: chunk {ref.id.hex()}"
        settings = self._settings
        return Attempts(name, request, settings.deadline_s, settings.redirects_max)

    def _take_transfer(self) -> Transfer:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        return new_transfer(self._settings, self._authorization)

    def _give_back(self, transfer: Transfer, usable: bool) -> None:
        if not usable:
            transfer.close()
            return
        with self._lock:
            self._idle.append(transfer)

# SPDX-License-Identifier: Apache-2.0
"""Many requests to one store, driven by one thread.

What an answer means is decided in `rules.py`, how it travels by a `Transfer`. Here is when: how
many at once, when again, and when the store as a whole is given up.
"""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from images.errors import ImageError
from images.stores.health import Health
from images.stores.pace import TokenBucket, Window
from images.stores.protocol import ChunkRef
from images.stores.rules import Again, Attempts, Sign
from images.stores.settings import HttpSettings
from images.stores.transfer import Failure, Reply, Request, Transfer

_LONGEST_POLL_S = 10.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one chunk: `body` or `error`."""

    ref: ChunkRef
    body: bytes | None
    error: ImageError | None
    content_length: int | None
    transferred: int


@dataclass(slots=True)
class _Job:
    ref: ChunkRef
    attempts: Attempts
    started_s: float = 0.0


class Flight:
    """The requests of one `fetch` or `stat`, and the thread that drives them.

    `offer`, `release` and `close` are for the thread that wants the chunks.
    """

    def __init__(
        self,
        transfer: Transfer,
        settings: HttpSettings,
        health: Health,
        bucket: TokenBucket,
        most_held: int,
        begin: Callable[[ChunkRef], Attempts],
        done: Callable[[Outcome], None],
        broke: Callable[[Exception], None],
    ) -> None:
        """Start the thread.

        `begin` makes the first request for a chunk; `done` is given each outcome, and `broke` the
        exception that ended the thread; all three run in the thread and have to be quick. At most
        `most_held` uncompressed bytes of chunks are in flight or not released; one chunk may have
        more.
        """
        self._transfer, self._health, self._bucket = transfer, health, bucket
        self._begin, self._done, self._broke = begin, done, broke
        self._window = Window(
            settings.in_flight_min, settings.in_flight_start, settings.in_flight_max
        )
        self._most_held = most_held
        self._lock = threading.Lock()
        self._held = 0
        self._fresh: deque[ChunkRef] = deque()
        self._later: list[tuple[float, int, _Job]] = []
        self._order = itertools.count()
        self._in_flight: dict[Request, _Job] = {}
        self._paused_until_s = 0.0
        self._hungry = False
        self._closing = False
        self.abandoned = False
        """Requests were left in the transfer: it cannot be used again."""
        self._thread = threading.Thread(target=self._run, name="http", daemon=True)
        self._thread.start()

    def offer(self, ref: ChunkRef) -> None:
        """Want one more chunk."""
        self._fresh.append(ref)
        if self._hungry:
            self._transfer.wake()

    def release(self, length: int) -> None:
        """Tell that a chunk's bytes are held no more."""
        with self._lock:
            self._held -= length
        if self._hungry:
            self._transfer.wake()

    def close(self) -> None:
        """End the thread; requests that are under way are left in the transfer."""
        self._closing = True
        self._transfer.wake()
        self._thread.join()
        self.abandoned = self.abandoned or bool(self._in_flight)

    def _run(self) -> None:
        try:
            while not self._closing:
                # Said before looking for work, so that work which comes meanwhile wakes us.
                self._hungry = True
                wait_s = self._start_what_may()
                self._hungry = len(self._in_flight) < self._window.size
                for reply in self._transfer.poll(wait_s):
                    self._handle(reply)
        except Exception as error:
            self._broke(error)

    def _start_what_may(self) -> float:
        """Start requests, and return how long to wait for something to happen."""
        health = self._health
        if not self._in_flight and not self._later:
            health.begin()
        elif health.overdue and health.down is None:
            if self._in_flight:
                return _LONGEST_POLL_S
            health.give_up()
        if health.down is not None:
            self._fail_all(health.down)
            return _LONGEST_POLL_S
        while len(self._in_flight) < self._window.size:
            now_s = time.monotonic()
            wait_s = max(self._paused_until_s - now_s, self._bucket.wait_s)
            if wait_s > 0:
                return wait_s
            if self._later and self._later[0][0] <= now_s:
                job = heapq.heappop(self._later)[2]
            elif self._fresh and self._may_hold(self._fresh[0].length):
                ref = self._fresh.popleft()
                job = _Job(ref, self._begin(ref))
            else:
                return min(_LONGEST_POLL_S, self._later[0][0] - now_s if self._later else 1e9)
            self._start(job)
        return _LONGEST_POLL_S

    def _may_hold(self, length: int) -> bool:
        with self._lock:
            if self._held and self._held + length > self._most_held:
                return False
            self._held += length
            return True

    def _start(self, job: _Job) -> None:
        job.started_s = time.monotonic()
        self._in_flight[job.attempts.request] = job
        self._transfer.start(job.attempts.request)

    def _handle(self, reply: Reply) -> None:
        job = self._in_flight.pop(reply.request, None)
        if job is None:
            return
        verdict = job.attempts.judge(reply)
        self._bucket.take(reply.transferred)
        self._health.note(reply, verdict)
        if verdict.pause_s:
            self._paused_until_s = max(self._paused_until_s, time.monotonic() + verdict.pause_s)
        if verdict.sign is Sign.BUSY or reply.failure is Failure.STALL:
            self._window.overloaded(job.started_s)
        elif verdict.sign is Sign.WELL:
            self._window.answered(reply.transferred)
        if isinstance(verdict.then, Request):
            self._start(job)
        elif isinstance(verdict.then, Again):
            due_s = time.monotonic() + verdict.then.wait_s
            heapq.heappush(self._later, (due_s, next(self._order), job))
        else:
            self._end(job, reply, verdict.then)

    def _end(self, job: _Job, reply: Reply, error: ImageError | None) -> None:
        self._done(
            Outcome(
                ref=job.ref,
                body=reply.body if error is None else None,
                error=error,
                content_length=reply.content_length,
                transferred=job.attempts.transferred,
            )
        )

    def _fail_all(self, why: ImageError) -> None:
        """Answer everything that is wanted; what is under way would only fail later."""
        self.abandoned = self.abandoned or bool(self._in_flight)
        jobs = [*self._in_flight.values(), *(job for _, _, job in self._later)]
        self._in_flight.clear()
        self._later.clear()
        spent = [(job.ref, job.attempts.transferred) for job in jobs]
        while self._fresh:
            ref = self._fresh.popleft()
            with self._lock:
                self._held += ref.length
            spent.append((ref, 0))
        for ref, transferred in spent:
            error = type(why)(str(why), hint=why.hint)
            self._done(Outcome(ref, None, error, None, transferred))

# SPDX-License-Identifier: Apache-2.0
"""The chunks that a swarm fetches at a time: who is asked for which, and when.

One thread asks the origin, one asks each neighbour; all share one table under one lock. Each takes
what nobody else has taken, so the fast ones take more. What a slow neighbour has taken and does not
deliver is taken by another one, too; the first answer counts.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Self

from images.digests import Digest
from images.sources import Source
from images.stores.protocol import Answer, ChunkRef
from updater.peers.client import Client, Said
from updater.peers.holdings import COMING
from updater.peers.owners import shares

if TYPE_CHECKING:
    from updater.peers.swarm import Swarm

PATIENCE_S = 10.0
"""An owner from whom nothing comes for so long is taken for dead."""


HEDGE_S = 2.0
"""Four times what a batch of chunks should take."""

ORIGIN_THREADS = 2
"""While one batch comes to its end the next one is under way."""

LEAST_BATCH, MOST_BATCH = 4, 256
BATCH_S = 0.5
"""The origin is asked for half a second's worth at a time: what is under way when a neighbour turns
up may be fetched twice."""

ALONE_S, SETTLED_S = 0.5, 2.0
"""Most neighbours answer at once, all within a second or two. Who has found nobody at first asks
the origin; who has looked for longer asks it for much at a time. We look before the survey."""

FIRST_ANSWERS_S = 5.0
"""So long the origin has to wait for neighbours to come, and to say what they have."""

ASK_AGAIN_S = 0.5
MOST_ASKED_AGAIN, MOST_ASKED_OF_OURS = 256, 64
REFRESH_S = 0.25
_PAUSE_S = 0.1

ORIGIN = ""
"""Stands for the origin where others have identities."""


@dataclass(frozen=True, slots=True)
class _Taken:
    """Somebody was asked for a chunk."""

    by: str
    since_s: float


class Window:
    """Fetches some chunks; see `answers`."""

    def __init__(self, swarm: Swarm, wanted: Sequence[ChunkRef], digest: Digest) -> None:
        self._swarm = swarm
        self._me = swarm.neighbourhood.identity
        self._digest = digest
        self._lock = threading.Lock()
        self._open = len(wanted)
        self._lacking = {ref.number: ref for ref in wanted}
        self._taken: dict[int, _Taken] = {}
        self._results: SimpleQueue[Answer | Exception] = SimpleQueue()
        self._closing = threading.Event()
        self._clients: dict[str, Client] = {}
        self._said: dict[str, set[int]] = {}  # what of it each neighbour says it has
        self._coming_s: dict[int, float] = {}  # since when a neighbour waits for it
        self._unheard: set[str] = set()  # those that came early and have not said what they have
        self._members: frozenset[str] = frozenset()
        self._shares: dict[str, deque[ChunkRef]] = {}
        self._round = 0  # of the members; neighbours are asked anew for everything in each
        self._stalled: set[str] = set()
        self._progress_s: dict[str, float] = {}
        self._started_s = time.monotonic()
        self._idle_s: float | None = None  # since when the origin has nothing left for us

    def __enter__(self) -> Self:
        self._refresh()
        for _ in range(ORIGIN_THREADS):
            self._start(self._ask_origin)
        return self

    def __exit__(self, *_: object) -> None:
        # Whoever still waits for an answer that nobody needs any more ends when it comes.
        self._closing.set()

    def answers(self) -> Iterator[Answer]:
        """Yield one answer for each chunk, as they come."""
        due_s = 0.0
        while self._open:
            if time.monotonic() >= due_s:
                self._refresh()
                due_s = time.monotonic() + REFRESH_S
            try:
                result = self._results.get(timeout=REFRESH_S)
            except Empty:
                continue
            if isinstance(result, Exception):
                raise result
            self._open -= 1
            yield result

    def _start(self, work: Callable[[], None]) -> None:
        def run() -> None:
            try:
                work()
            except Exception as error:
                self._results.put(error)

        threading.Thread(target=run, name="swarm", daemon=True).start()

    # Who is there, and who owns what.

    def _refresh(self) -> None:
        """Look who is there now, and share the chunks out anew if that has changed."""
        clients = {client.peer.about.identity: client for client in self._swarm.clients()}
        with self._lock:
            for name in self._clients.keys() - clients.keys():
                self._forget(name)
            new = [client for name, client in clients.items() if name not in self._clients]
            if time.monotonic() - self._started_s < FIRST_ANSWERS_S:
                self._unheard.update(clients.keys() - self._clients.keys())
            self._clients = clients
            self._note_stalled()
            members = frozenset({self._me, *self._updating()} - self._stalled)
            if members != self._members:
                self._share_out(members)
        for client in new:
            self._start(partial(self._ask_peer, client))

    def _updating(self) -> Iterator[str]:
        return (
            name
            for name, client in self._clients.items()
            if self._swarm.neighbourhood.updates_with(client.peer.about)
        )

    def _share_out(self, members: frozenset[str]) -> None:
        now_s = time.monotonic()
        self._progress_s = {name: self._progress_s.get(name, now_s) for name in members}
        self._members = members
        self._shares = {
            name: deque(refs) for name, refs in shares(members, self._lacking.values()).items()
        }
        self._round += 1
        self._idle_s = None

    def _note_stalled(self) -> None:
        """Take chunks away from owners that do not get them."""
        now_s = time.monotonic()
        for name in self._members - {self._me}:
            if now_s - self._progress_s[name] > PATIENCE_S and self._awaited(name, 1):
                self._stalled.add(name)
        if self._idle_s is not None:
            own_s = self._idle_s - self._started_s
            if now_s - self._idle_s > PATIENCE_S + 2 * own_s:
                self._stalled |= self._members - {self._me}

    def _awaited(self, name: str, most: int, *, coming: bool = True) -> list[ChunkRef]:
        """Return chunks that a member owns and nobody has yet, those first that it takes first.

        Args:
            name: of the member.
            most: so many.
            coming: also those that another one has asked the origin for.
        """
        since_s = time.monotonic() - PATIENCE_S
        share = self._shares.get(name, deque())
        while share and share[0].number not in self._lacking:
            share.popleft()
        waiting = (
            ref
            for ref in share
            if self._is_free(ref.number)
            and not self._said_by_any(ref)
            and (coming or self._coming_s.get(ref.number, since_s) <= since_s)
        )
        return list(islice(waiting, most))

    def _is_free(self, number: int) -> bool:
        return number in self._lacking and number not in self._taken

    def _said_by_any(self, ref: ChunkRef) -> bool:
        return any(ref.number in said for said in self._said.values())

    # The origin.

    def _ask_origin(self) -> None:
        batch = LEAST_BATCH
        while not self._closing.is_set():
            refs = self._of_origin(batch)
            if not refs:
                self._closing.wait(_PAUSE_S)
                continue
            started_s = time.monotonic()
            for answer in self._swarm.origin.fetch(refs, self._digest):
                self._came_from_origin(answer)
                if self._closing.is_set():
                    return
            if len(refs) == batch and self._swarm.neighbourhood.has_looked_for(SETTLED_S):
                worth = BATCH_S * len(refs) / (time.monotonic() - started_s)
                batch = max(LEAST_BATCH, min(MOST_BATCH, 2 * batch, int(worth)))

    def _of_origin(self, most: int) -> list[ChunkRef]:
        """Take what is to be asked of the origin now."""
        refs: list[ChunkRef] = []
        with self._lock:
            if self._may_learn_more and time.monotonic() - self._started_s < FIRST_ANSWERS_S:
                return []
            while len(refs) < most and (ref := self._next_of_origin()) is not None:
                self._taken[ref.number] = _Taken(ORIGIN, time.monotonic())
                refs.append(ref)
        for ref in refs:
            self._swarm.neighbourhood.note(ref.id, COMING)
        return refs

    @property
    def _may_learn_more(self) -> bool:
        if self._clients:
            return bool(self._unheard)
        return not self._swarm.neighbourhood.has_looked_for(ALONE_S)

    def _next_of_origin(self) -> ChunkRef | None:
        own = self._awaited(self._me, 1, coming=False)
        if own:
            self._idle_s = None
            return own[0]
        if self._idle_s is None:
            self._idle_s = time.monotonic()
        return self._hedged(ORIGIN)

    def _hedged(self, who: str) -> ChunkRef | None:
        """Return a chunk that another one than the origin has been asked for, for too long."""
        before_s = time.monotonic() - HEDGE_S
        for number, taken in self._taken.items():
            if taken.by not in (who, ORIGIN) and taken.since_s < before_s:
                return self._lacking[number]
        return None

    def _came_from_origin(self, answer: Answer) -> None:
        number = answer.ref.number
        with self._lock:
            if number not in self._lacking:
                return
            said = any(number in said for said in self._said.values())
            if answer.error is not None and said:
                self._taken.pop(number, None)  # a neighbour has it after all
                return
            self._done(number)
        self._results.put(answer)

    def _done(self, number: int) -> None:
        del self._lacking[number]
        self._taken.pop(number, None)
        for said in self._said.values():
            said.discard(number)

    # Neighbours.

    def _ask_peer(self, client: Client) -> None:
        name, seen, due_s = client.peer.about.identity, 0, 0.0
        while not self._closing.is_set() and client.dropped is None and name in self._clients:
            refs: list[ChunkRef] = []
            with self._lock:
                if self._round != seen:
                    seen = self._round
                    refs = list(self._lacking.values())
                elif time.monotonic() >= due_s and name in self._members:
                    # Of ours, too: it may see others than we do, and own some of them.
                    refs = self._awaited(name, MOST_ASKED_AGAIN)
                    refs += self._awaited(self._me, MOST_ASKED_OF_OURS)
            if refs:
                self._learn(name, client.have(refs))
                # Of a crowd each one is asked less often, so that all of it can be.
                due_s = time.monotonic() + ASK_AGAIN_S * max(1.0, len(self._clients) / 8)
            if not self._take_from(client):
                self._closing.wait(_PAUSE_S)
        with self._lock:
            self._forget(name)

    def _learn(self, name: str, what: Said) -> None:
        with self._lock:
            self._unheard.discard(name)
            now_s = time.monotonic()
            for ref in what.coming:
                self._coming_s.setdefault(ref.number, now_s)
            fresh = {ref.number for ref in what.here if ref.number in self._lacking}
            said = self._said.setdefault(name, set())
            if fresh - said:
                self._progress_s[name] = time.monotonic()
            said |= fresh

    def _take_from(self, client: Client) -> bool:
        """Fetch some chunks of what a neighbour has; False if there is nothing to do for it."""
        name = client.peer.about.identity
        refs: list[ChunkRef] = []
        with self._lock:
            said = self._said.get(name, set())
            for number in islice((n for n in said if self._is_free(n)), client.batch):
                refs.append(self._lacking[number])
            if not refs and (ref := self._hedged(name)) is not None and ref.number in said:
                refs.append(ref)
            now_s = time.monotonic()
            self._taken.update({ref.number: _Taken(name, now_s) for ref in refs})
        for answer in client.fetch(refs, self._digest) if refs else ():
            self._came_from_peer(client, answer)
            if self._closing.is_set():
                break
        with self._lock:
            self._release(name)
        return bool(refs)

    def _came_from_peer(self, client: Client, answer: Answer) -> None:
        number, name = answer.ref.number, client.peer.about.identity
        with self._lock:
            if answer.error is not None:
                self._said.get(name, set()).discard(number)
                return
            late = number not in self._lacking
            if not late:
                self._done(number)
        if late:
            client.waste(answer.transferred)
        else:
            self._results.put(replace(answer, kind=Source.PEER))

    def _release(self, name: str) -> None:
        """Let others take what a neighbour was asked for and has not delivered."""
        for number in [n for n, taken in self._taken.items() if taken.by == name]:
            del self._taken[number]

    def _forget(self, name: str) -> None:
        """Do without a neighbour from now on."""
        self._said.pop(name, None)
        self._unheard.discard(name)
        self._clients.pop(name, None)
        self._release(name)

# SPDX-License-Identifier: Apache-2.0
"""Neighbours and the origin as one store: each chunk is taken from the origin by one device.

What a neighbour has comes from there. What nobody has yet is taken from the origin by its owner
among those that update to the same release (`owners`); the others wait until it has it. They wait
for a bounded time: an owner from whom nothing comes for `PATIENCE_S` loses its chunks to the
others, and who is through with its own share waits no longer than it took for that, twice.

No leader and no state: whoever sees other neighbours than the rest fetches some chunks twice, and
gets the same image.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice

from images.digests import Digest
from images.events import EventSink, SourceFailed
from images.stores.chain import Chain
from images.stores.protocol import Answer, ChunkRef, Stat
from updater.peers.client import Client, Peer, PeerReport
from updater.peers.holdings import HERE
from updater.peers.neighbourhood import Neighbourhood
from updater.peers.window import Window

WINDOW = 8192
"""Chunks that are shared out at a time, so that memory does not grow with the image."""

MOST_PEERS = 32
"""Neighbours that are asked at once. Chunks are shared out among these only: where more devices
update than that, each chunk is taken from the origin a few times."""


class Swarm:
    """A `Store`, and the `Peers` that planning asks."""

    def __init__(self, origin: Chain, neighbourhood: Neighbourhood, sink: EventSink) -> None:
        """Join them.

        Args:
            origin: the remote stores, without a cache; closed with the swarm.
            neighbourhood: who is there; stays the caller's.
            sink: told of neighbours that lose their place.
        """
        self.origin = origin
        self.neighbourhood = neighbourhood
        self._sink = sink
        self._clients: dict[str, Client] = {}
        self._told: set[str] = set()

    @property
    def name(self) -> str:
        """Those of the origin."""
        return self.origin.name or "neighbours"

    @property
    def remote(self) -> bool:
        """Asking costs a round trip."""
        return True

    @property
    def reports(self) -> tuple[PeerReport, ...]:
        """What each neighbour did."""
        return tuple(client.report for client in self._clients.values())

    def clients(self) -> list[Client]:
        """Return those neighbours that may be asked now; new ones as they come."""
        there: Mapping[str, Peer] = {
            peer.about.identity: peer for peer in self.neighbourhood.peers()
        }
        for identity, peer in there.items():
            used = sum(client.dropped is None for client in self._clients.values())
            if identity not in self._clients and used < MOST_PEERS:
                self._clients[identity] = Client(peer, self.neighbourhood.site)
        for client in self._clients.values():
            self._tell(client)
        return [c for name, c in self._clients.items() if c.dropped is None and name in there]

    def holds(self, wanted: Iterable[ChunkRef]) -> Iterator[ChunkRef]:
        """See `Peers`."""
        refs = list(wanted)
        found: dict[int, ChunkRef] = {}
        for client in self.clients():
            lacking = [ref for ref in refs if ref.number not in found]
            found |= {ref.number: ref for ref in client.have(lacking).here}
            self._tell(client)
        yield from found.values()

    def fetch(self, wanted: Iterable[ChunkRef], digest: Digest) -> Iterator[Answer]:
        """See `Store`."""
        refs = iter(wanted)
        while part := list(islice(refs, WINDOW)):
            with Window(self, part, digest) as window:
                for answer in window.answers():
                    yield answer
                    # Whoever takes the next one has put this one into its place.
                    self.neighbourhood.note(answer.ref.id, HERE)

    def stat(self, wanted: Iterable[ChunkRef]) -> Iterator[Stat]:
        """See `Store`: what the origin has."""
        return self.origin.stat(wanted)

    def close(self) -> None:
        """End connections."""
        for client in self._clients.values():
            client.close()
        self.origin.close()

    def _tell(self, client: Client) -> None:
        if client.dropped is not None and client.peer.about.identity not in self._told:
            self._told.add(client.peer.about.identity)
            self._sink(SourceFailed(client.peer.address, None, "peers.dropped", client.dropped))

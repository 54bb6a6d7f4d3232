# SPDX-License-Identifier: Apache-2.0
"""This device among its neighbours: what it gives, who else is there.

Serving and discovery run in a process of their own without privileges (`process`). It tells us who
is there, in records of JSON; we tell it what has come onto the target through shared memory.
"""

from __future__ import annotations

import importlib.util
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from functools import partial
from typing import Self

from images.digests import ChunkId
from images.errors import ImageError, NotAccessible
from images.http_server import Limits, Server, listen
from updater.config_tables import PeersConfig
from updater.peers import process
from updater.peers.client import Peer, ask_about
from updater.peers.discovery import Discovery
from updater.peers.holdings import Holdings
from updater.peers.service import HEAD_BYTES, About, Service
from updater.peers.site import Site

GIVEN_AGAIN_S = 2.0
"""How often peers of the configuration are asked who they are and what they do now."""

UNHEARD_S = 15.0
"""A process that has told nothing by then will not."""

MOST_RECORD = 64 << 10
IDLE_S = 10.0


class Neighbourhood:
    """See the module.

    Attributes:
        identity: ours; random.
        site: what we have in common with neighbours.
        port: where we serve.
        process: the number of what serves.
    """

    def __init__(
        self,
        config: PeersConfig,
        holdings: Holdings,
        *,
        indexes: Sequence[bytes] = (),
        release: bytes | None = None,
    ) -> None:
        """Begin to serve and to look around.

        Args:
            config: how.
            holdings: what we give.
            indexes: SHA-256 of those indexes, for the announcement.
            release: digest of what we are updating to; None while we only serve.

        Raises:
            NotAccessible: the port is taken.
            SettingInvalid: the secret cannot be used.
        """
        self.identity = secrets.token_hex(8)
        self.site = Site.load(config.site_name, config.secret)
        self._config = config
        self._holdings = holdings
        self._release = release
        self._started_s = time.monotonic()
        self._heard_s: float | None = None
        self._found: tuple[Peer, ...] = ()
        self._given: dict[str, Peer] = {}
        self._closing = threading.Event()
        tags = tuple(self.site.tag(self.identity, index) for index in indexes)
        updating = None if release is None else self.site.tag(self.identity, release)
        about = About(self.identity, updating, tags)
        listener = _listen(config.port, or_any=release is not None)
        self.port = int(listener.getsockname()[1])
        fds = [held.fd for held in holdings.held]
        with listener:
            self._discover = discover = (
                config.discover and importlib.util.find_spec("zeroconf") is not None
            )
            self.process, self._channel = process.fork(
                _load if discover else _load_nothing,
                lambda channel: self._serve(channel, listener, about, discover),
                [listener.fileno(), *fds],
            )
        self._channel.setblocking(False)
        self._asker = threading.Thread(target=self._ask_given, name="given peers", daemon=True)
        if config.static:
            self._asker.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def has_looked_for(self, seconds: float) -> bool:
        """Tell whether we have looked around for so long, or have nothing to look with.

        Where it took longer to begin, neighbours will not answer sooner either.
        """
        now_s = time.monotonic()
        if self._heard_s is None:
            return now_s - self._started_s > UNHEARD_S or not self._discover
        return now_s - self._heard_s > max(seconds, self._heard_s - self._started_s)

    def peers(self) -> tuple[Peer, ...]:
        """Return who is there now."""
        with suppress(BlockingIOError, ConnectionError):
            while record := self._channel.recv(MOST_RECORD):
                self._found = _peers(record)
                self._heard_s = self._heard_s or time.monotonic()
        both = {peer.about.identity: peer for peer in (*self._found, *self._given.values())}
        both.pop(self.identity, None)
        return tuple(both.values())

    def updates_with(self, about: About) -> bool:
        """Tell whether a neighbour updates to the same release as we do, as it says."""
        if self._release is None or about.updating is None:
            return False
        return about.updating == self.site.tag(about.identity, self._release)

    def note(self, chunk_id: ChunkId, state: int) -> None:
        """Tell the process that serves that a chunk is `HERE` on the target now, or `COMING`."""
        self._holdings.note(chunk_id, state)

    def close(self) -> None:
        """Take leave; after an update, what serves goes on while neighbours still ask."""
        self._closing.set()
        self._channel.close()
        if self._release is None:
            os.waitpid(self.process, 0)

    def _ask_given(self) -> None:
        while not self._closing.is_set():
            for text in self._config.static:
                host, _, port = text.rpartition(":")
                with suppress(ImageError, OSError):
                    address = socket.getaddrinfo(
                        host.strip("[]"), int(port), type=socket.SOCK_STREAM
                    )
                    self._given[text] = ask_about(str(address[0][4][0]), int(port), self.site)
                    continue
                self._given.pop(text, None)
            self._closing.wait(GIVEN_AGAIN_S)

    def _serve(
        self, channel: socket.socket, listener: socket.socket, about: About, discover: bool
    ) -> None:
        limits = Limits(
            connections=self._config.connections,
            connections_of_one=max(1, self._config.connections // 4),
            idle_timeout_s=IDLE_S,
            rate_bps=self._config.rate_limit_bps,
            head_bytes=HEAD_BYTES,
        )
        with ExitStack() as stack:
            service = Service(self.site, about, self._holdings)
            stack.enter_context(Server(listener, service, limits))
            if discover:
                tell = partial(_tell, channel)
                stack.enter_context(
                    Discovery(self.site, about, self.port, self._config.metered, tell)
                )
            with suppress(ConnectionError):
                channel.recv(1)  # until our other half closes its end
            if self._release is not None:
                process.detach()
                service.linger()


def _listen(port: int, *, or_any: bool) -> socket.socket:
    """Listen everywhere.

    Args:
        port: 0 for a free one.
        or_any: a free one as well if that one is taken: `caflip peer` may run beside the agent.
    """
    everywhere = "::" if socket.has_dualstack_ipv6() else "0.0.0.0"
    try:
        return listen(everywhere, port)
    except NotAccessible:
        if not or_any:
            raise
        return listen(everywhere, 0)


def _load() -> None:
    import pyroute2
    import zeroconf

    del pyroute2, zeroconf


def _load_nothing() -> None:
    pass


def _tell(channel: socket.socket, peers: Sequence[Peer]) -> bool:
    """Send our other half all neighbours; False while it has not read the last ones."""
    record = json.dumps(
        [[p.about.identity, p.about.updating, list(p.about.holds), p.host, p.port] for p in peers]
    )
    try:
        with suppress(BrokenPipeError):  # it ends, and so do we
            channel.send(record.encode(), socket.MSG_DONTWAIT)
    except BlockingIOError:
        return False
    return True


def _peers(record: bytes) -> tuple[Peer, ...]:
    """Read what the other process says; it is ours, and has no more rights than a neighbour."""
    return tuple(
        Peer(About(str(one[0]), one[1], tuple(one[2])), str(one[3]), int(one[4]))
        for one in json.loads(record)
    )

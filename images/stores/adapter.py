# SPDX-License-Identifier: Apache-2.0
"""An adapter of requests whose sockets are known, so that a transfer can end at once.

requests and urllib3 offer no way to interrupt a thread that waits for an answer; shutting down its
socket does. The connection classes of a pool manager may be replaced (urllib3, `ConnectionCls` and
`pool_classes_by_scheme`).
"""

from __future__ import annotations

import contextlib
import socket
import threading
import weakref

import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection


class Sockets:
    """All sockets of a transfer, so that threads which wait for an answer can be woken."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._opened: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._closing = False

    def add(self, opened: socket.socket) -> None:
        """Remember a socket that a thread has opened."""
        with self._lock:
            self._opened.add(opened)
            if self._closing:
                _shut_down(opened)

    def shut_down(self) -> None:
        """End all that threads wait for, from now on."""
        with self._lock:
            self._closing = True
            for opened in self._opened:
                _shut_down(opened)

    def close(self) -> None:
        """Close what the libraries left to the garbage collector."""
        for opened in self._opened:
            opened.close()

    def pool_classes(self) -> dict[str, type[urllib3.HTTPConnectionPool]]:
        """Return urllib3's pools by scheme, with connections that are remembered here."""
        add = self.add

        class Plain(HTTPConnection):
            def connect(self) -> None:
                super().connect()
                add(self.sock)

        class Secure(HTTPSConnection):
            def connect(self) -> None:
                super().connect()
                add(self.sock)

        class PlainPool(urllib3.HTTPConnectionPool):
            ConnectionCls = Plain

        class SecurePool(urllib3.HTTPSConnectionPool):
            ConnectionCls = Secure

        return {"http": PlainPool, "https": SecurePool}


class KnownSocketsAdapter(HTTPAdapter):
    """An adapter whose sockets are known."""

    def __init__(self, sockets: Sockets, connections: int) -> None:
        self._classes = sockets.pool_classes()
        super().__init__(pool_maxsize=connections)

    def init_poolmanager(self, *args: object, **options: object) -> None:
        """Make the pools of direct connections."""
        super().init_poolmanager(*args, **options)  # type: ignore[arg-type]
        self.poolmanager.pool_classes_by_scheme = self._classes

    def proxy_manager_for(self, proxy: str, **options: object) -> urllib3.ProxyManager:
        """Return the pools of a proxy."""
        manager: urllib3.ProxyManager = super().proxy_manager_for(proxy, **options)
        manager.pool_classes_by_scheme = self._classes
        return manager


def _shut_down(opened: socket.socket) -> None:
    # Not SSLSocket.shutdown: it takes the TLS state away from the thread that reads.
    with contextlib.suppress(OSError):
        socket.socket.shutdown(opened, socket.SHUT_RDWR)

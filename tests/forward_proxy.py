# SPDX-License-Identifier: Apache-2.0
"""A forward proxy for tests: absolute URLs and CONNECT, to the loopback interface only."""

from __future__ import annotations

import select
import socket
import socketserver
import threading
from typing import Self
from urllib.parse import urlsplit


class ForwardProxy:
    """A running proxy.

    Attributes:
        url: where it is.
        heads: the request heads that came, in order.
    """

    def __init__(self) -> None:
        self.heads: list[str] = []
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.owner = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(socketserver.ThreadingTCPServer):
    owner: ForwardProxy


class _Handler(socketserver.StreamRequestHandler):
    server: _Server
    timeout = 20

    def handle(self) -> None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            line = self.rfile.readline()
            if not line:
                return
            head += line
        self.server.owner.heads.append(head.decode("latin-1"))
        method, target, _ = head.split(b" ", 2)
        authority = target.decode() if method == b"CONNECT" else urlsplit(target.decode()).netloc
        port = int(authority.rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=20) as origin:
            if method == b"CONNECT":
                self.wfile.write(b"HTTP/1.1 200 Connected\r\nRetry-After: 9\r\n\r\n")
            else:
                path = urlsplit(target.decode()).path.encode()
                first = head.replace(target, path, 1).replace(
                    b"\r\n", b"\r\nConnection: close\r\n", 1
                )
                origin.sendall(first)
            _relay(self.connection, origin)


def _relay(client: socket.socket, origin: socket.socket) -> None:
    while True:
        readable, _, _ = select.select([client, origin], [], [], 20)
        if not readable:
            return
        for source in readable:
            data = source.recv(1 << 16)
            if not data:
                return
            (origin if source is client else client).sendall(data)

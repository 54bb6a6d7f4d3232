# SPDX-License-Identifier: Apache-2.0
"""A web server for tests that does wrong on command, and remembers what it was asked.

    with FaultyServer({"/castr/abcd/abcd….cacnk": body}) as server:
        server.script("/castr/abcd/abcd….cacnk", status(503), truncated(100))   # then it is well
        server.script("*", delayed(0.02))                # last action of "*" goes on for ever
        ...
        assert server.peak > 8
        assert [request.path for request in server.requests] == [...]

A path's own actions are used up one per request; after them the file is served. What `"*"` says
goes for every request to a path without actions of its own; its last action is repeated for ever.
A file that is not there is 404. An action is any function that takes an `Exchange`; those below
write their own answers, or call `exchange.well()`.
"""

from __future__ import annotations

import contextlib
import gzip
import socket
import socketserver
import ssl
import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from typing import Self, TypeAlias, cast

LONGEST_STALL_S = 60.0


@dataclass(frozen=True, slots=True)
class Seen:
    """A request as it came.

    Attributes:
        headers: names in lower case.
        client: common name of the client's certificate, None without one.
        began_s: `time.monotonic()`.
    """

    method: str
    path: str
    headers: Mapping[str, str]
    client: str | None
    began_s: float


class Exchange:
    """One request that is to be answered, by raw writes to its connection."""

    def __init__(self, server: FaultyServer, handler: _Handler) -> None:
        self.server = server
        self.head = handler.command == "HEAD"
        self.path = handler.path
        self.file = server.files.get(handler.path.partition("?")[0])
        self._handler = handler

    def begin(self, code: int, length: int | None, **fields: str) -> None:
        """Send status line and headers; `length=None` ends the answer by closing.

        `Retry_After="1"` becomes `Retry-After: 1`.
        """
        self.send(_head(code, length, fields))
        if length is None:
            self.hang_up()

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._handler.connection.sendall(data)

    def answer(self, code: int, body: bytes = b"", **fields: str) -> None:
        """Send a whole answer."""
        self.send(_head(code, len(body), fields) + (b"" if self.head else body))

    def well(self) -> None:
        """Answer as a good server does."""
        if self.file is None:
            self.answer(404, b"not here")
        else:
            self.answer(200, self.file)

    def hang_up(self) -> None:
        """Close the connection after this answer."""
        self._handler.close_connection = True

    def reset(self) -> None:
        """Close with RST instead of FIN."""
        linger = struct.pack("ii", 1, 0)
        self._handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.hang_up()


def _head(code: int, length: int | None, fields: Mapping[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {code} Said so"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in fields.items()]
    if length is not None:
        lines.append(f"Content-Length: {length}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


Action: TypeAlias = Callable[[Exchange], None]


def status(code: int, body: bytes = b"", **fields: str) -> Action:
    """Answer with this status and body."""
    return lambda exchange: exchange.answer(code, body, **fields)


def redirected(location: str, code: int = 302) -> Action:
    """Send elsewhere."""
    return status(code, Location=location)


def delayed(seconds: float, then: Action = Exchange.well) -> Action:
    """Wait first: the latency of a distant server."""

    def act(exchange: Exchange) -> None:
        time.sleep(seconds)
        then(exchange)

    return act


def truncated(keep: int) -> Action:
    """Announce the whole file, send `keep` bytes of it, and close."""

    def act(exchange: Exchange) -> None:
        body = exchange.file or b""
        exchange.begin(200, len(body))
        exchange.send(body[:keep])
        exchange.hang_up()

    return act


def corrupted(at: int) -> Action:
    """Flip every bit of one byte."""

    def act(exchange: Exchange) -> None:
        body = bytearray(exchange.file or b"")
        body[at] ^= 0xFF
        exchange.answer(200, bytes(body))

    return act


def stalled(after: int | None = None) -> Action:
    """Be silent after `after` bytes of the body (None: before the answer) until `release()`."""

    def act(exchange: Exchange) -> None:
        body = exchange.file or b""
        if after is not None:
            exchange.begin(200, len(body))
            exchange.send(body[:after])
        exchange.server.released.wait(LONGEST_STALL_S)
        exchange.hang_up()

    return act


def endless(announced: bool = False) -> Action:
    """Send a body that never ends, with or without a length in front."""

    def act(exchange: Exchange) -> None:
        exchange.begin(200, 1 << 40 if announced else None)
        while not exchange.server.released.is_set():
            exchange.send(bytes(1 << 16))

    return act


def encoded(exchange: Exchange) -> None:
    """Answer gzipped with `Content-Encoding: gzip`, which nobody asked for."""
    exchange.answer(200, gzip.compress(exchange.file or b""), Content_Encoding="gzip")


def hung_up(exchange: Exchange) -> None:
    """Close without any answer."""
    exchange.hang_up()


def reset(exchange: Exchange) -> None:
    """End the connection with RST, without any answer."""
    exchange.reset()


class FaultyServer:
    """See the module.

    Attributes:
        files: path to body; may be changed at any time.
        requests: all that came, in order.
        connections: how many were made.
        peak: the most requests that were being answered at once.
        released: set when stalls are over.
    """

    def __init__(
        self, files: Mapping[str, bytes] | None = None, tls: ssl.SSLContext | None = None
    ) -> None:
        """Listen on a free port of the loopback interface."""
        self.files = dict(files or {})
        self.requests: list[Seen] = []
        self.connections = 0
        self.peak = 0
        self.released = threading.Event()
        self._scripts: dict[str, deque[Action]] = {}
        self._lock = threading.Lock()
        self._now = 0
        self._server = _Server(self, tls)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()
        self.port: int = self._server.server_address[1]
        self.url = f"{'https' if tls else 'http'}://localhost:{self.port}"

    def script(self, path: str, *actions: Action) -> None:
        """Say what to do with the next requests to a path, or to `"*"`."""
        with self._lock:
            self._scripts[path] = deque(actions)

    def count(self, path: str) -> int:
        """Return how often a path was asked for."""
        return sum(request.path == path for request in self.requests)

    def release(self) -> None:
        """End all stalls and endless answers."""
        self.released.set()

    def close(self) -> None:
        """End everything, and wait for the threads."""
        self.release()
        self._server.shutdown()
        self._thread.join()
        self._server.hang_up()
        self._server.server_close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def respond(self, handler: _Handler) -> None:
        """Answer one request; called by the connection's thread."""
        path = handler.path.partition("?")[0]
        with self._lock:
            self.requests.append(_seen(handler))
            self._now += 1
            self.peak = max(self.peak, self._now)
            action = self._next_action(path)
        try:
            action(Exchange(self, handler))
        finally:
            with self._lock:
                self._now -= 1

    def _next_action(self, path: str) -> Action:
        own, general = self._scripts.get(path), self._scripts.get("*")
        if own is not None:
            return own.popleft() if own else Exchange.well
        if general:
            return general.popleft() if len(general) > 1 else general[0]
        return Exchange.well


class _Server(socketserver.ThreadingTCPServer):
    request_queue_size = 128
    allow_reuse_address = True

    def __init__(self, owner: FaultyServer, tls: ssl.SSLContext | None) -> None:
        self.owner, self._tls = owner, tls
        self._lock = threading.Lock()
        self._connections: set[socket.socket] = set()
        super().__init__(("127.0.0.1", 0), _Handler)

    def finish_request(self, request: object, client_address: object) -> None:
        assert isinstance(request, socket.socket)
        request.settimeout(LONGEST_STALL_S)
        request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(OSError):  # also ssl.SSLError: a client that leaves
            if self._tls is None:
                self._handle(request, client_address)
            else:
                with self._tls.wrap_socket(request, server_side=True) as secure:
                    self._handle(secure, client_address)

    def shutdown_request(self, request: object) -> None:
        # Without the shutdown() of the base class, which would send FIN where RST is wanted.
        assert isinstance(request, socket.socket)
        request.close()

    def _handle(self, connection: socket.socket, client_address: object) -> None:
        with self._lock:
            self._connections.add(connection)
            self.owner.connections += 1
        try:
            _Handler(connection, client_address, self)
        finally:
            with self._lock:
                self._connections.discard(connection)

    def hang_up(self) -> None:
        with self._lock:
            for connection in self._connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        self.server.owner.respond(self)

    do_HEAD = do_GET  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Say nothing on stderr."""


def _seen(handler: _Handler) -> Seen:
    secure = handler.connection
    certificate = secure.getpeercert() if isinstance(secure, ssl.SSLSocket) else None
    client = None
    if certificate:
        subject = cast("tuple[tuple[tuple[str, str], ...], ...]", certificate["subject"])
        names = dict(pair for relative in subject for pair in relative)
        client = names.get("commonName")
    headers = {name.lower(): value for name, value in handler.headers.items()}
    return Seen(handler.command, handler.path, headers, client, time.monotonic())

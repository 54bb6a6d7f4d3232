# SPDX-License-Identifier: Apache-2.0
"""A strict HTTP/1.1 server for reading: GET and HEAD, one thread for each connection.

What is served is decided by who starts it. No TLS: digests protect chunks, signatures the rest. A
file is sent by `sendfile`: its bytes never pass through Python. RFC 9110 (fields, ranges, statuses)
and RFC 9112 (messages).
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self, TypeAlias

from images.errors import NotAccessible
from images.http_message import MOST_HEAD, Asked, Malformed, answer_head, parse_request, wanted_part
from images.stores.pace import TokenBucket

_PIECE = 1 << 20
_SMALL_PIECE = 64 << 10  # with a rate limit, so that all connections get their turn
_BACKLOG = 128


@dataclass(frozen=True, slots=True)
class OpenFile:
    """A regular file to be sent; the server closes it."""

    fd: int


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer without a body: 403 or 404."""

    status: int


Found: TypeAlias = OpenFile | bytes | Refusal
Finder: TypeAlias = Callable[[Asked, str], Found]
"""From what is asked, and the address of ours that it came to (`10.0.0.1:80`), to what is sent;
called by many threads at once."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What clients may take.

    Attributes:
        connections: one more is told to come back in a second.
        connections_of_one: from the same address.
        idle_timeout_s: how long a client may send, or take, nothing.
        rate_bps: bytes a second over all connections; None is unlimited.
        head_bytes: of a request.
    """

    connections: int = 128
    connections_of_one: int = 128
    idle_timeout_s: float = 30.0
    rate_bps: int | None = None
    head_bytes: int = MOST_HEAD


def listen(address: str, port: int) -> socket.socket:
    """Listen on a numeric address; on `::`, for IPv4 as well.

    Raises:
        NotAccessible: the port is taken, or the address is not ours.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    both = address == "::"
    try:
        return socket.create_server(
            (address, port), family=family, backlog=_BACKLOG, dualstack_ipv6=both
        )
    except OSError as error:
        raise NotAccessible(f"{address} port {port}: {error.strerror}") from error


class Server:
    """Serves on a socket until it is closed."""

    def __init__(self, listener: socket.socket, find: Finder, limits: Limits) -> None:
        """Start.

        Args:
            listener: listens already; closed with the server.
            find: what is served.
            limits: what clients may take.
        """
        self._listener = listener
        self._find = find
        self._limits = limits
        self._bucket = TokenBucket(limits.rate_bps)
        self._piece = _PIECE if limits.rate_bps is None else _SMALL_PIECE
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._connections: dict[socket.socket, threading.Thread] = {}
        self._of_one: Counter[str] = Counter()
        self._thread = threading.Thread(target=self._accept, name="serve", daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all connections, and wait for the threads."""
        if self._closing.is_set():
            return
        self._closing.set()
        _shut_down(self._listener)
        self._thread.join()
        self._listener.close()
        with self._lock:
            connections = dict(self._connections)
        for connection, thread in connections.items():
            _shut_down(connection)
            thread.join()

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                connection, address = self._listener.accept()
            except OSError:
                # Also EMFILE: wait for connections to end, and not in a hurry.
                self._closing.wait(0.05)
                continue
            host = str(address[0])
            thread = threading.Thread(
                target=self._converse, args=(connection, host), name="serve connection", daemon=True
            )
            with self._lock:
                full = (
                    len(self._connections) >= self._limits.connections
                    or self._of_one[host] >= self._limits.connections_of_one
                )
                if not full:
                    self._connections[connection] = thread
                    self._of_one[host] += 1
            if full:
                with connection, contextlib.suppress(OSError):
                    connection.setblocking(False)
                    connection.send(answer_head(503, 0, keep=False, more="Retry-After: 1\r\n"))
            else:
                thread.start()

    def _converse(self, connection: socket.socket, host: str) -> None:
        try:
            with connection, contextlib.suppress(OSError):
                connection.settimeout(self._limits.idle_timeout_s)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                rest, keep = b"", True
                while keep and not self._closing.is_set():
                    head, rest = self._read_head(connection, rest)
                    keep = bool(head) and self._answer(connection, head)
        finally:
            with self._lock:
                del self._connections[connection]
                self._of_one[host] -= 1
                if not self._of_one[host]:
                    del self._of_one[host]

    def _read_head(self, connection: socket.socket, rest: bytes) -> tuple[bytes, bytes]:
        """Return the next request's head without its empty line, and what came after it."""
        end_s = time.monotonic() + self._limits.idle_timeout_s
        while (end := rest.find(b"\r\n\r\n")) < 0 and len(rest) <= self._limits.head_bytes:
            piece = connection.recv(self._limits.head_bytes)
            if not piece or time.monotonic() > end_s:
                return b"", b""
            rest += piece
        return (rest[:end], rest[end + 4 :]) if end >= 0 else (rest, b"")

    def _answer(self, connection: socket.socket, head: bytes) -> bool:
        """Answer one request, and return whether the connection stays."""
        try:
            asked = parse_request(head, self._limits.head_bytes)
        except Malformed:
            connection.sendall(answer_head(400, 0, keep=False))
            return False
        if asked.method not in (b"GET", b"HEAD"):
            connection.sendall(answer_head(405, 0, keep=False, more="Allow: GET, HEAD\r\n"))
            return False
        found = self._find(asked, _local(connection))
        if isinstance(found, Refusal):
            connection.sendall(answer_head(found.status, 0, asked.keep))
            return asked.keep
        if isinstance(found, bytes):
            return self._answer_with(connection, asked, found, len(found))
        try:
            return self._answer_with(connection, asked, found.fd, os.fstat(found.fd).st_size)
        finally:
            os.close(found.fd)

    def _answer_with(
        self, connection: socket.socket, asked: Asked, body: int | bytes, length: int
    ) -> bool:
        part = wanted_part(asked.range, length)
        if part is None:
            connection.sendall(
                answer_head(416, 0, asked.keep, more=f"Content-Range: bytes */{length}\r\n")
            )
            return asked.keep
        start, end = part
        more = "Accept-Ranges: bytes\r\n"
        if not (whole := (start, end) == (0, length)):
            more += f"Content-Range: bytes {start}-{end - 1}/{length}\r\n"
        send_head = answer_head(200 if whole else 206, end - start, asked.keep, more)
        # MSG_MORE joins the head and the first bytes of the body in one packet.
        flags = 0 if asked.method == b"HEAD" or start == end else socket.MSG_MORE
        connection.sendall(send_head, flags)
        if asked.method == b"GET" and not self._send(connection, body, start, end):
            return False
        return asked.keep

    def _send(self, connection: socket.socket, body: int | bytes, start: int, end: int) -> bool:
        """Send part of a body; False when it ended early, and the connection cannot be used."""
        writable = select.poll()
        writable.register(connection, select.POLLOUT)
        while start < end:
            stop = min(end, start + self._piece)
            try:
                if isinstance(body, bytes):
                    connection.sendall(memoryview(body)[start:stop])
                    sent = stop - start
                else:
                    sent = os.sendfile(connection.fileno(), body, start, stop - start)
            except BlockingIOError:
                if not writable.poll(self._limits.idle_timeout_s * 1000):
                    return False
                continue
            if sent == 0:
                return False
            start += sent
            with self._lock:
                self._bucket.take(sent)
                wait_s = self._bucket.wait_s
            if wait_s and self._closing.wait(wait_s):
                return False
        return True


def _local(connection: socket.socket) -> str:
    """Return our end of a connection as URLs have it, without the zone of a link-local address."""
    host, port = connection.getsockname()[:2]
    host = str(host).partition("%")[0].removeprefix("::ffff:")
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _shut_down(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)

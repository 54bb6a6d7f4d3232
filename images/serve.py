# SPDX-License-Identifier: Apache-2.0
"""A read-only web server for chunk stores, indexes and releases: small sites, neighbours, tests.

It serves what lies below one folder and is named like a compressed chunk, an index, a release, or
the signature of one, and nothing else: names are matched, not cleaned, and no symbolic link is
followed. No TLS: digests protect chunks, signatures the rest; put a real web server in front where
secrecy counts.

One thread for each connection, and `sendfile`: bytes never pass through Python. HTTP/1.1 by
RFC 9110 (fields, ranges, statuses) and RFC 9112 (messages).
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import socket
import stat
import threading
import time
from typing import Self

from images.chunkfile import compressed_suffix
from images.errors import NotAccessible
from images.http_message import MOST_HEAD, Malformed, answer_head, parse_request, wanted_part
from images.stores.pace import TokenBucket

_PIECE = 1 << 20
_SMALL_PIECE = 64 << 10  # with a rate limit, so that all connections get their turn
_BACKLOG = 128
_NAME = r"[A-Za-z0-9_][A-Za-z0-9._@+-]*"


class Server:
    """A running server; see `serve`.

    Attributes:
        url: where it is, without a slash at the end.
    """

    def __init__(
        self,
        root: str | os.PathLike[str],
        address: str,
        port: int,
        most_connections: int,
        idle_timeout_s: float,
        rate_limit_bps: int | None,
    ) -> None:
        chunk = rf"([0-9a-f]{{4}})/\2[0-9a-f]{{60}}{re.escape(compressed_suffix())}"
        release = r"latest\.json|release\.json(?:\.asc)?"
        index = rf"{_NAME}\.cai[bd]x(?:\.asc)?"
        self._path = re.compile(rf"/((?:{_NAME}/)*(?:{chunk}|{index}|{release}))")
        self._idle_timeout_s = idle_timeout_s
        self._bucket = TokenBucket(rate_limit_bps)
        self._piece = _PIECE if rate_limit_bps is None else _SMALL_PIECE
        self._most = most_connections
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._connections: dict[socket.socket, threading.Thread] = {}
        try:
            self._root = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise NotAccessible(f"{os.fspath(root)}: {error.strerror}") from error
        try:
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            self._listener = socket.create_server((address, port), family=family, backlog=_BACKLOG)
        except OSError as error:
            os.close(self._root)
            raise NotAccessible(f"{address} port {port}: {error.strerror}") from error
        host = f"[{address}]" if family == socket.AF_INET6 else address
        self.url = f"http://{host}:{self._listener.getsockname()[1]}"
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
        os.close(self._root)

    def _accept(self) -> None:
        while not self._closing.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                # Also EMFILE: wait for connections to end, and not in a hurry.
                self._closing.wait(0.05)
                continue
            thread = threading.Thread(
                target=self._converse, args=(connection,), name="serve connection", daemon=True
            )
            with self._lock:
                full = len(self._connections) >= self._most
                if not full:
                    self._connections[connection] = thread
            if full:
                with connection, contextlib.suppress(OSError):
                    connection.setblocking(False)
                    connection.send(answer_head(503, 0, keep=False, more="Retry-After: 1\r\n"))
            else:
                thread.start()

    def _converse(self, connection: socket.socket) -> None:
        try:
            with connection, contextlib.suppress(OSError):
                connection.settimeout(self._idle_timeout_s)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                rest, keep = b"", True
                while keep and not self._closing.is_set():
                    head, rest = self._read_head(connection, rest)
                    keep = bool(head) and self._answer(connection, head)
        finally:
            with self._lock:
                del self._connections[connection]

    def _read_head(self, connection: socket.socket, rest: bytes) -> tuple[bytes, bytes]:
        """Return the next request's head without its empty line, and what came after it."""
        end_s = time.monotonic() + self._idle_timeout_s
        while (end := rest.find(b"\r\n\r\n")) < 0 and len(rest) <= MOST_HEAD:
            piece = connection.recv(MOST_HEAD)
            if not piece or time.monotonic() > end_s:
                return b"", b""
            rest += piece
        return (rest[:end], rest[end + 4 :]) if end >= 0 else (rest, b"")

    def _answer(self, connection: socket.socket, head: bytes) -> bool:
        """Answer one request, and return whether the connection stays."""
        try:
            asked = parse_request(head)
        except Malformed:
            connection.sendall(answer_head(400, 0, keep=False))
            return False
        if asked.method not in (b"GET", b"HEAD"):
            connection.sendall(answer_head(405, 0, keep=False, more="Allow: GET, HEAD\r\n"))
            return False
        file = self._open(asked.path)
        if file is None:
            connection.sendall(answer_head(404, 0, asked.keep))
            return asked.keep
        try:
            length = os.fstat(file).st_size
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
            if asked.method == b"GET" and not self._send(connection, file, start, end):
                return False
        finally:
            os.close(file)
        return asked.keep

    def _open(self, path: str) -> int | None:
        """Open a regular file below the root, folder by folder; None where there is none."""
        match = self._path.fullmatch(path)
        if match is None:
            return None
        *folders, name = match[1].split("/")
        at, opened = self._root, []
        try:
            for folder in folders:
                flags = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
                at = os.open(folder, flags, dir_fd=at)
                opened.append(at)
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            file = os.open(name, flags, dir_fd=at)
        except OSError:
            return None
        finally:
            for folder_fd in opened:
                os.close(folder_fd)
        if stat.S_ISREG(os.fstat(file).st_mode):
            return file
        os.close(file)
        return None

    def _send(self, connection: socket.socket, file: int, start: int, end: int) -> bool:
        """Send part of a file; False when it ended early, and the connection cannot be used."""
        writable = select.poll()
        writable.register(connection, select.POLLOUT)
        while start < end:
            try:
                sent = os.sendfile(connection.fileno(), file, start, min(end - start, self._piece))
            except BlockingIOError:
                if not writable.poll(self._idle_timeout_s * 1000):
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


def serve(
    root: str | os.PathLike[str],
    address: str = "127.0.0.1",
    port: int = 0,
    *,
    most_connections: int = 128,
    idle_timeout_s: float = 30.0,
    rate_limit_bps: int | None = None,
) -> Server:
    """Start to serve a folder; the server runs until it is closed.

    Args:
        root: the folder; stores and indexes may lie at any depth.
        address: to listen on; numeric.
        port: 0 for a free one.
        most_connections: one more is told to come back in a second.
        idle_timeout_s: how long a client may send, or take, nothing.
        rate_limit_bps: bytes a second over all connections; None is unlimited.

    Raises:
        NotAccessible: no such folder, or the port is taken.
    """
    return Server(root, address, port, most_connections, idle_timeout_s, rate_limit_bps)


def _shut_down(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)

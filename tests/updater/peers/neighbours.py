# SPDX-License-Identifier: Apache-2.0
"""Neighbours who do wrong: each a server on loopback that a device has been given."""

from __future__ import annotations

import contextlib
import json
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from images.chunkfile import encode
from images.compression import Compression
from images.digests import ChunkId

Body = Callable[[bytes, socket.socket], bytes | None]
"""From a chunk's name to the whole answer; None if the connection was dealt with."""


def answer(body: bytes, length: int | None = None) -> bytes:
    """Return an answer with a body, perhaps of another length than it says."""
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (
        len(body) if length is None else length,
        body,
    )


class Liar:
    """Says that it has every chunk, and answers as it is told.

    Attributes:
        sent: bytes of bodies and heads that it got rid of.
        asked: paths.
    """

    def __init__(self, reply: Body, release: str | None = None) -> None:
        self._reply = reply
        self.sent = 0
        self.asked: list[str] = []
        self._about = json.dumps(
            {
                "version": 1,
                "identity": secrets.token_hex(8),
                "updating": release,
                "holds": [],
            }
        ).encode()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        for connection in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self._open.append(connection)
                threading.Thread(target=self._converse, args=(connection,), daemon=True).start()

    def _converse(self, connection: socket.socket) -> None:
        rest = b""
        with contextlib.suppress(OSError):
            while True:
                while b"\r\n\r\n" not in rest:
                    piece = connection.recv(65536)
                    if not piece:
                        return
                    rest += piece
                head, _, rest = rest.partition(b"\r\n\r\n")
                path = head.split(b" ")[1].partition(b"?")[0].decode()
                self.asked.append(path)
                if path == "/peer":
                    full: bytes | None = answer(self._about)
                elif path.startswith("/have/"):
                    ids = len(path.removeprefix("/have/")) * 6 // 8 // 32
                    length = -(-ids // 8)
                    full = answer(b"\xff" * length + bytes(length))
                else:
                    full = self._reply(path.encode(), connection)
                if full is None:
                    return
                self.sent += len(full)
                connection.sendall(full)


@contextmanager
def liar(reply: Body, release: str | None = None) -> Iterator[Liar]:
    """Run one."""
    made = Liar(reply, release)
    try:
        yield made
    finally:
        made.close()


def wrong_bytes(path: bytes, connection: socket.socket) -> bytes:
    """A well-formed chunk file that holds something else."""
    return answer(encode(b"something else" * 1000, Compression.ZSTD))


def bomb(path: bytes, connection: socket.socket) -> bytes:
    """A small body that inflates to 64 MiB."""
    return answer(encode(bytes(64 << 20), Compression.ZSTD))


def endless(path: bytes, connection: socket.socket) -> None:
    """A body without an end."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n")
    while True:
        connection.sendall(bytes(65536))


def dripping(path: bytes, connection: socket.socket) -> None:
    """A byte now and then."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 30000\r\n\r\n")
    while True:
        connection.sendall(b"\0")
        time.sleep(0.2)


def silent(path: bytes, connection: socket.socket) -> None:
    """Nothing, for as long as the other one waits."""
    while connection.recv(1):
        pass


def reset(path: bytes, connection: socket.socket) -> None:
    """The connection is torn down."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, bytes([1, 0, 0, 0, 0, 0, 0, 0]))
    connection.close()


def truncated(path: bytes, connection: socket.socket) -> None:
    """Less than was promised."""
    connection.sendall(answer(bytes(1000), 5000))
    connection.shutdown(socket.SHUT_RDWR)


def missing(path: bytes, connection: socket.socket) -> bytes:
    """What it said it had is not there."""
    return b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"


def redirecting(path: bytes, connection: socket.socket) -> bytes:
    """To somewhere else on the device's networks."""
    return b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/secret\r\nContent-Length: 0\r\n\r\n"


def same_length(contents: dict[str, int]) -> Body:
    """Right lengths, wrong bytes."""

    def reply(path: bytes, connection: socket.socket) -> bytes:
        length = contents[ChunkId(bytes.fromhex(path[-70:-6].decode())).hex()]
        return answer(encode(b"\x55" * length, Compression.ZSTD))

    return reply

# SPDX-License-Identifier: Apache-2.0
"""An HTTP/1.1 file server that waits before each answer, as a distant server does.

The wait is per answer and not per byte: a client that keeps several requests under way waits for
them together, one that sends the next request after the answer waits for each. One thread for each
connection, keep-alive, `sendfile`; it shares the machine with what is measured, so it must cost
little. `python -m bench.latency_server --measure` says how much it can deliver.

For files of one folder on the loopback interface; not for anything else.
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

LIMIT = 64 << 10  # bytes of a request head; more ends the connection
NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"


def serve(folder: Path, listener: socket.socket, delay_s: float) -> None:
    """Answer GET for files below `folder` until the listening socket is closed."""
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        thread = threading.Thread(target=_converse, args=(folder, connection, delay_s), daemon=True)
        thread.start()


def _converse(folder: Path, connection: socket.socket, delay_s: float) -> None:
    root = str(folder)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    pending = b""
    with connection, suppress(ConnectionError):
        while True:
            while b"\r\n\r\n" not in pending:
                received = connection.recv(LIMIT)
                if not received or len(pending) > LIMIT:
                    return
                pending += received
            head, _, pending = pending.partition(b"\r\n\r\n")
            time.sleep(delay_s)
            path = head.split(b" ", 2)[1].split(b"?")[0].decode()
            _answer(connection, root + path)


def _answer(connection: socket.socket, path: str) -> None:
    try:
        file = os.open(path, os.O_RDONLY)
    except OSError:
        connection.sendall(NOT_FOUND)
        return
    try:
        length = os.fstat(file).st_size
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % length, socket.MSG_MORE)
        offset = 0
        while offset < length:
            offset += os.sendfile(connection.fileno(), file, offset, length - offset)
    finally:
        os.close(file)


def listen() -> socket.socket:
    """Return a socket that listens on a free port of the loopback interface."""
    return socket.create_server(("127.0.0.1", 0), backlog=256)


def start(folder: Path, delay_s: float) -> tuple[subprocess.Popen[str], int]:
    """Start a server process; return it and its port.

    It ends when its standard input does: with this process at the latest.
    """
    command = [sys.executable, "-m", "bench.latency_server", str(folder)]
    server = subprocess.Popen(
        [*command, f"--delay-ms={delay_s * 1000}"],
        cwd=Path(__file__).parent.parent,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout is not None
    return server, int(server.stdout.readline())


def stop(server: subprocess.Popen[str]) -> None:
    """End a server process."""
    server.communicate()


def answers_per_second(port: int, path: str, connections: int, duration_s: float) -> float:
    """Ask for one file over and over on some connections and count the answers."""
    counts = [0] * connections
    until = time.monotonic() + duration_s

    def ask(number: int) -> None:
        request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        with socket.create_connection(("127.0.0.1", port)) as connection:
            answer = connection.makefile("rb")
            while time.monotonic() < until:
                connection.sendall(request)
                while (line := answer.readline().lower()) != b"\r\n":
                    if line.startswith(b"content-length:"):
                        length = int(line.split(b":")[1])
                answer.read(length)
                counts[number] += 1

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(counts) / duration_s


def _measure(delay_s: float) -> None:
    connections, duration_s, length = 64, 5.0, 25_000
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "file").write_bytes(os.urandom(length))
        server, port = start(Path(folder), delay_s)
        try:
            rate = answers_per_second(port, "/file", connections, duration_s)
        finally:
            stop(server)
    ceiling = f"{connections / delay_s:.0f}" if delay_s else "no limit"
    print(f"{connections} connections, {length} bytes: {rate:.0f} answers/s ({ceiling} possible)")


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve a folder until standard input ends."""
    parser = argparse.ArgumentParser(prog="python -m bench.latency_server", description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path, default=Path())
    parser.add_argument("--delay-ms", type=float, default=20.0)
    parser.add_argument("--measure", action="store_true", help="measure this server, then end")
    options = parser.parse_args(arguments)
    if options.measure:
        _measure(options.delay_ms / 1000)
        return 0
    listener = listen()
    print(listener.getsockname()[1], flush=True)
    serving = (options.folder.absolute(), listener, options.delay_ms / 1000)
    threading.Thread(target=serve, args=serving, daemon=True).start()
    sys.stdin.read()
    return 0


if __name__ == "__main__":
    sys.exit(main())

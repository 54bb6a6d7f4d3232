# SPDX-License-Identifier: Apache-2.0
"""The slow server: late, right, and patient with many requests on one connection."""

from __future__ import annotations

import http.client
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench import latency_server

DEADLINE_S = 20.0


@contextmanager
def connected(folder: Path, delay_s: float) -> Iterator[http.client.HTTPConnection]:
    server, port = latency_server.start(folder, delay_s)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_S)
    try:
        yield connection
    finally:
        connection.close()
        latency_server.stop(server)


def test_an_answer_comes_no_sooner_than_the_delay(tmp_path: Path) -> None:
    (tmp_path / "chunk").write_bytes(b"content")
    with connected(tmp_path, 0.2) as connection:
        connection.connect()
        start = time.monotonic()
        connection.request("GET", "/chunk")
        assert connection.getresponse().read() == b"content"
        assert time.monotonic() - start >= 0.2


def test_one_connection_carries_many_requests(tmp_path: Path) -> None:
    large = bytes(range(256)) * 4096
    (tmp_path / "large").write_bytes(large)
    with connected(tmp_path, 0.0) as connection:
        connection.request("GET", "/large?query")
        first = connection.sock
        assert connection.getresponse().read() == large
        connection.request("GET", "/missing")
        answer = connection.getresponse()
        assert (answer.status, answer.read()) == (404, b"")
        connection.request("GET", "/large")
        assert connection.getresponse().read() == large
        assert connection.sock is first


def test_requests_sent_together_are_answered_in_order(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"1")
    (tmp_path / "b").write_bytes(b"2")
    with connected(tmp_path, 0.0) as client:
        address = ("127.0.0.1", client.port)
        with socket.create_connection(address, timeout=DEADLINE_S) as connection:
            connection.sendall(b"GET /a HTTP/1.1\r\n\r\nGET /b HTTP/1.1\r\n\r\n")
            answer = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n"
            with connection.makefile("rb") as stream:
                assert stream.read(2 * len(answer) + 2) == answer + b"1" + answer + b"2"


def test_the_load_of_many_connections_is_counted(tmp_path: Path) -> None:
    (tmp_path / "chunk").write_bytes(b"x" * 1000)
    with connected(tmp_path, 0.01) as client:
        rate = latency_server.answers_per_second(int(client.port), "/chunk", 4, 0.2)
    assert 0 < rate <= 4 / 0.01 + 4 / 0.2

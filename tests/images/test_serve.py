# SPDX-License-Identifier: Apache-2.0
"""The read-only server: what it serves, and everything that it does not."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from images.digests import Digest
from images.errors import NotAccessible
from images.http_server import Limits
from images.serve import FolderServer, serve
from images.stores.http import HttpStore
from tests.chunk_site import ChunkSite, http_url

CHUNK = "abcd" + "0" * 60
BODY = bytes(range(256)) * 500


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "site"
    (folder / "castr" / "abcd").mkdir(parents=True)
    (folder / "castr" / "abcd" / f"{CHUNK}.cacnk").write_bytes(BODY)
    (folder / "a.caibx").write_bytes(b"index")
    return folder


@contextmanager
def connected(server: FolderServer) -> Iterator[socket.socket]:
    port = int(server.url.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        yield connection


def receive(connection: socket.socket, body: bool = True) -> tuple[int, dict[str, str], bytes]:
    """Return status, fields and body of one answer."""
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(1 << 16)
        assert piece, f"closed after {data!r}"
        data += piece
    head, _, data = data.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    fields = dict(line.lower().split(": ", 1) for line in lines)
    length = int(fields["content-length"]) if body else 0
    while len(data) < length:
        piece = connection.recv(1 << 16)
        assert piece, "the body is cut"
        data += piece
    assert len(data) == length
    return int(first.split()[1]), fields, data


def ask(
    server: FolderServer, path: str, method: str = "GET", *fields: str
) -> tuple[int, dict[str, str], bytes]:
    with connected(server) as connection:
        lines = [f"{method} {path} HTTP/1.1", "Host: h", *fields, "", ""]
        connection.sendall("\r\n".join(lines).encode("latin-1"))
        return receive(connection, body=method != "HEAD")


def test_chunks_and_indexes_are_served(root: Path) -> None:
    with serve(root) as server:
        status, fields, body = ask(server, f"/castr/abcd/{CHUNK}.cacnk")
        assert (status, body) == (200, BODY)
        assert fields["content-length"] == str(len(BODY))
        assert ask(server, "/a.caibx?x=/y")[::2] == (200, b"index")


def test_head_sends_no_body(root: Path) -> None:
    with serve(root) as server, connected(server) as connection:
        for _ in range(2):
            request = f"HEAD /castr/abcd/{CHUNK}.cacnk HTTP/1.1\r\nHost: h\r\n\r\n"
            connection.sendall(request.encode())
            status, fields, _ = receive(connection, body=False)
            assert (status, fields["content-length"]) == (200, str(len(BODY)))


def test_a_store_can_be_fetched_from_it(root: Path) -> None:
    with ChunkSite(60) as site:
        for path, body in site.server.files.items():
            target = root / path[1:]
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(body)
        with serve(root) as server:
            store = HttpStore(http_url(f"{server.url}/castr"))
            answers = list(store.fetch(site.refs, Digest.SHA512_256))
            stats = list(store.stat(site.refs))
            store.close()
    assert all(answer.error is None for answer in answers)
    assert sum(stat.stored_length or 0 for stat in stats) == sum(map(len, site.bodies))


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/castr",
        "/castr/",
        "/castr/abcd/",
        f"/castr/abcd/{CHUNK}",
        f"/castr/abcd/{CHUNK.upper()}.cacnk",
        f"/castr/dcba/{CHUNK}.cacnk",
        f"/castr//abcd/{CHUNK}.cacnk",
        f"/castr/./abcd/{CHUNK}.cacnk",
        "/../site/a.caibx",
        "/castr/../a.caibx",
        "/%2e%2e/site/a.caibx",
        "/a%2ecaibx",
        "//a.caibx",
        "/b.caibx",
        "/secret.txt",
        "/.hidden.caibx",
        "/link.caibx",
        "/linked/a.caibx",
        "/folder.caibx",
        "/pipe.caibx",
        "/a.caibx/",
        "/a.caibx\\0",
    ],
)
def test_everything_else_is_not_found(root: Path, path: str) -> None:
    (root / "secret.txt").write_text("secret")
    (root / ".hidden.caibx").write_text("secret")
    (root / "castr" / "dcba").symlink_to("abcd")
    (root.parent / "outside.caibx").write_text("secret")
    (root / "link.caibx").symlink_to(root.parent / "outside.caibx")
    (root / "linked").symlink_to(root)
    (root / "folder.caibx").mkdir()
    os.mkfifo(root / "pipe.caibx")
    with serve(root) as server:
        assert ask(server, path)[::2] == (404, b"")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "CONNECT"])
def test_other_methods_are_refused(root: Path, method: str) -> None:
    with serve(root) as server:
        status, fields, _ = ask(server, "/a.caibx", method)
        assert status == 405
        assert fields["allow"] == "get, head"


@pytest.mark.parametrize(
    "head",
    [
        b"GET /a.caibx",
        b"GET  /a.caibx HTTP/1.1\r\nHost: h",
        b"GET /a.caibx HTTP/2.0\r\nHost: h",
        b"GET a.caibx HTTP/1.1\r\nHost: h",
        b"GET http://h/a.caibx HTTP/1.1\r\nHost: h",
        b"GET /a.caibx HTTP/1.1",
        b"GET /a.caibx HTTP/1.1\r\nHost: h\r\nHost: g",
        b"GET /a.caibx HTTP/1.1\r\nHost: h\r\n folded",
        b"GET /a.caibx HTTP/1.1\r\nHost : h",
        b"GET /a.caibx HTTP/1.1\r\nHost: h\r\nContent-Length: 5",
        b"GET /a.caibx HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked",
        b"GET /a\xff.caibx HTTP/1.1\r\nHost: h",
        b"GET /a.caibx HTTP/1.1\r\nHost: h\r\nX: " + b"x" * 9000,
        b"\x16\x03\x01\x02",
    ],
)
def test_what_is_not_plain_http_is_a_bad_request_and_ends_the_connection(
    root: Path, head: bytes
) -> None:
    with serve(root) as server, connected(server) as connection:
        connection.sendall(head + b"\r\n\r\n")
        assert receive(connection)[0] == 400
        with contextlib.suppress(ConnectionResetError):  # not all of a long head was read
            assert connection.recv(1) == b""


def test_a_head_without_end_is_a_bad_request(root: Path) -> None:
    with serve(root) as server, connected(server) as connection:
        connection.sendall(b"GET /" + b"x" * 9000)
        assert receive(connection)[0] == 400


@pytest.mark.parametrize(
    ("asked", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=10-19", 10, 20),
        ("bytes=127999-", 127999, 128000),
        ("bytes=100-999999", 100, 128000),
        ("bytes=-5", 127995, 128000),
        ("bytes=-999999", 0, 128000),
    ],
)
def test_a_range_is_served(root: Path, asked: str, start: int, end: int) -> None:
    with serve(root) as server:
        status, fields, body = ask(server, f"/castr/abcd/{CHUNK}.cacnk", "GET", f"Range: {asked}")
        assert body == BODY[start:end]
        if (start, end) != (0, 128000):
            assert status == 206
            assert fields["content-range"] == f"bytes {start}-{end - 1}/128000"


@pytest.mark.parametrize("asked", ["bytes=128000-", "bytes=128000-128001", "bytes=-0"])
def test_a_range_behind_the_end_cannot_be_satisfied(root: Path, asked: str) -> None:
    with serve(root) as server:
        status, fields, _ = ask(server, f"/castr/abcd/{CHUNK}.cacnk", "GET", f"Range: {asked}")
        assert status == 416
        assert fields["content-range"] == "bytes */128000"


@pytest.mark.parametrize("asked", ["bytes=5-2", "bytes=1-2,4-5", "bytes=-", "lines=1-2", "x"])
def test_a_range_that_makes_no_sense_is_ignored(root: Path, asked: str) -> None:
    with serve(root) as server:
        status, _, body = ask(server, f"/castr/abcd/{CHUNK}.cacnk", "GET", f"Range: {asked}")
        assert (status, body) == (200, BODY)


def test_an_empty_file_has_no_range(root: Path) -> None:
    (root / "empty.caibx").touch()
    with serve(root) as server:
        assert ask(server, "/empty.caibx")[::2] == (200, b"")
        assert ask(server, "/empty.caibx", "GET", "Range: bytes=0-")[0] == 416


def test_a_connection_is_kept_and_requests_may_come_together(root: Path) -> None:
    with serve(root) as server, connected(server) as connection:
        connection.sendall(b"GET /a.caibx HTTP/1.1\r\nHost: h\r\n\r\n" * 3)
        data = b""
        while data.count(b"index") < 3:
            piece = connection.recv(1 << 16)
            assert piece
            data += piece
        connection.sendall(b"GET /x HTTP/1.1\r\nHost: h\r\n\r\n")
        assert receive(connection)[0] == 404
        connection.sendall(b"GET /a.caibx HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        assert receive(connection)[1]["connection"] == "close"
        assert connection.recv(1) == b""


@pytest.mark.parametrize(("field", "kept"), [("", False), ("Connection: keep-alive\r\n", True)])
def test_http_1_0_closes_unless_asked(root: Path, field: str, kept: bool) -> None:
    with serve(root) as server, connected(server) as connection:
        connection.sendall(f"GET /a.caibx HTTP/1.0\r\n{field}\r\n".encode())
        fields = receive(connection)[1]
        assert fields["connection"] == ("keep-alive" if kept else "close")


def test_an_idle_connection_is_closed(root: Path) -> None:
    with serve(root, limits=Limits(idle_timeout_s=0.3)) as server, connected(server) as connection:
        connection.sendall(b"GET /a.caibx")
        assert connection.recv(1) == b""


def test_a_client_that_takes_nothing_is_cut_off(root: Path) -> None:
    with (root / "big.caibx").open("wb") as file:
        file.truncate(64 << 20)
    with serve(root, limits=Limits(idle_timeout_s=0.3)) as server, connected(server) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(b"GET /big.caibx HTTP/1.1\r\nHost: h\r\n\r\n")
        assert connection.recv(4) == b"HTTP"
        end_s = time.monotonic() + 20
        while any(t.name.startswith("serve ") for t in threading.enumerate()):
            assert time.monotonic() < end_s
            time.sleep(0.05)


def test_one_connection_too_many_is_told_to_come_back(root: Path) -> None:
    with serve(root, limits=Limits(connections=1)) as server, connected(server) as first:
        first.sendall(b"GET /a.caibx HTTP/1.1\r\nHost: h\r\n\r\n")
        assert receive(first)[0] == 200
        with connected(server) as second:
            status, fields, _ = receive(second)
            assert (status, fields["retry-after"]) == (503, "1")


def test_the_rate_limit_holds(root: Path) -> None:
    with serve(root, limits=Limits(rate_bps=200_000)) as server:
        began_s = time.monotonic()
        for _ in range(3):
            ask(server, f"/castr/abcd/{CHUNK}.cacnk")
        # 384 kB at 200 kB/s, of which the last 64 KiB of each answer are waited for behind it.
        assert time.monotonic() - began_s >= 3 * 65_536 / 200_000


def test_a_closed_server_leaves_nothing(root: Path) -> None:
    files = len(os.listdir("/proc/self/fd"))
    server = serve(root)
    with connected(server) as connection:
        connection.sendall(b"GET /a.caibx HTTP/1.1\r\nHost: h\r\n\r\n")
        receive(connection)
        server.close()
        server.close()
        assert connection.recv(1) == b""
    assert len(os.listdir("/proc/self/fd")) == files
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("serve")]


def test_what_cannot_be_served_is_refused(root: Path) -> None:
    with pytest.raises(NotAccessible):
        serve(root / "nowhere")
    with serve(root) as server, pytest.raises(NotAccessible):
        serve(root, port=int(server.url.rpartition(":")[2]))


def test_ipv6_is_written_in_brackets(root: Path) -> None:
    if not socket.has_ipv6 or not os.path.exists("/proc/net/if_inet6"):
        pytest.skip("missing: IPv6")
    with serve(root, "::1") as server:
        assert server.url.startswith("http://[::1]:")

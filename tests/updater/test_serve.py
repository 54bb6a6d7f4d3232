# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.updater.conftest import Published
from tests.updater.running import COMMAND, DEADLINE_S, Caflip, environment


@contextmanager
def serving(
    *arguments: str | Path, more: dict[str, str] | None = None
) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """Run `caflip serve`; give the first line that it prints."""
    process = subprocess.Popen(
        [*COMMAND, "serve", "--listen=0", *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        env=environment(more),
    )
    assert process.stdout is not None
    try:
        yield process.stdout.readline().decode().strip(), process
    finally:
        process.terminate()
        process.wait(DEADLINE_S)
        process.stdout.close()


def test_it_serves_until_a_signal_and_ends_well(
    tmp_path: Path, published: Published, caflip: Caflip
) -> None:
    with serving(published.folder) as (url, process):
        assert caflip("extract", f"{url}/image.caibx", tmp_path / "out").status == 0
        process.terminate()
        assert process.wait(DEADLINE_S) == 0
    assert (tmp_path / "out").read_bytes() == published.data


def test_it_serves_chunks_and_indexes_and_nothing_else(published: Published) -> None:
    (published.folder / "secret.txt").write_text("secret")
    with serving(published.folder) as (url, _):
        with urllib.request.urlopen(f"{url}/image.caibx", timeout=DEADLINE_S) as answer:
            assert answer.read() == published.index.read_bytes()
        for path in ("/secret.txt", "/", "/../image.caibx", "/image.img"):
            with pytest.raises(urllib.error.HTTPError) as caught:
                urllib.request.urlopen(url + path, timeout=DEADLINE_S)
            assert caught.value.code == 404
            caught.value.close()


def test_json_says_where(published: Published) -> None:
    with serving(published.folder, "--json") as (line, _):
        event = json.loads(line)
    assert event["event"] == "serving"
    assert event["url"].startswith("http://127.0.0.1:")


def test_systemd_is_told_of_start_life_and_end(tmp_path: Path, published: Published) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(DEADLINE_S)
        more = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "100000"}
        with serving(published.folder, more=more) as (_, process):
            assert manager.recv(100) == b"READY=1"
            assert manager.recv(100) == b"WATCHDOG=1"
            assert manager.recv(100) == b"WATCHDOG=1"
            process.send_signal(signal.SIGTERM)
            assert process.wait(DEADLINE_S) == 0
            while (told := manager.recv(100)) == b"WATCHDOG=1":
                pass
            assert told == b"STOPPING=1"


def test_a_folder_that_is_not_there(tmp_path: Path, caflip: Caflip) -> None:
    assert caflip("serve", "--listen=0", tmp_path / "nothing").status == 78


def test_a_port_that_is_taken(published: Published, caflip: Caflip) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = caflip("serve", f"--listen={port}", published.folder)
    assert done.status == 78
    assert str(port) in done.err

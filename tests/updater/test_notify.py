# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from images.events import Phase, Progress
from tests.capabilities import require_tool
from tests.updater.conftest import Published
from tests.updater.running import Caflip, run_process
from updater.notify import Notifier


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """Listen where systemd would."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.setblocking(False)
        yield listener


def messages(manager: socket.socket) -> list[str]:
    found = []
    while True:
        try:
            found.append(manager.recv(4096).decode())
        except BlockingIOError:
            return found


def test_ready_comes_first_and_then_the_phases(
    tmp_path: Path,
    manager: socket.socket,
    published: Published,
    caflip: Caflip,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    assert caflip("extract", published.index, tmp_path / "out").status == 0
    told = messages(manager)
    assert told[0] == "READY=1"
    phases = [text.removeprefix("STATUS=").split(":")[0] for text in told[1:]]
    assert phases[-3:] == ["assemble", "flush", "verify"]


@pytest.mark.interop
@pytest.mark.parametrize("verb", ["make", "digest"])
def test_casync_sends_ready_too(
    verb: str, tmp_path: Path, manager: socket.socket, published: Published
) -> None:
    require_tool("casync")
    arguments = {"make": [tmp_path / "x.caibx", published.image], "digest": [published.image]}[verb]
    more = {"NOTIFY_SOCKET": str(tmp_path / "notify")}
    run_process(verb, *arguments, command=("casync",), more=more)
    theirs = messages(manager)
    run_process(verb, *arguments, more=more)
    ours = messages(manager)
    assert theirs == ["READY=1"]
    assert ours[0] == "READY=1"


def test_gc_says_nothing_as_with_casync(
    tmp_path: Path,
    manager: socket.socket,
    published: Published,
    caflip: Caflip,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    assert caflip("gc", published.index).status == 0
    assert messages(manager) == []


def test_the_watchdog_is_fed_by_progress_at_half_its_time(
    tmp_path: Path, manager: socket.socket
) -> None:
    notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "3600000000"})
    assert notifier.watchdog_s == 1800.0
    for done in range(5):
        notifier.event(Progress(Phase.MAKE, done, 10))
    told = messages(manager)
    assert told.count("WATCHDOG=1") == 1
    assert told.count("STATUS=make: 0% (0B of 10B)") == 1
    assert len(told) == 2


def test_a_watchdog_of_another_process_is_not_ours(tmp_path: Path) -> None:
    environment = {"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": str(os.getpid() + 1)}
    assert Notifier(environment).watchdog_s is None


@pytest.mark.parametrize("address", ["relative", "", "vsock:1:2"])
def test_other_addresses_are_left_alone(address: str) -> None:
    Notifier({"NOTIFY_SOCKET": address}).ready()


def test_an_abstract_address_is_understood(tmp_path: Path) -> None:
    name = f"caflip-{os.getpid()}-{id(tmp_path)}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(f"\0{name}")
        Notifier({"NOTIFY_SOCKET": f"@{name}"}).ready()
        assert listener.recv(100) == b"READY=1"


def test_nobody_listening_does_no_harm(tmp_path: Path) -> None:
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "nobody")}).ready()

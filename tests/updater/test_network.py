# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.capabilities import require_module, require_root, require_tool
from tests.updater.running import DEADLINE_S, environment
from updater import network
from updater.errors import NoNetwork
from updater.network import has_route, is_local, resolve, wait_for_route


@pytest.mark.parametrize(
    "host", ["", "localhost", "LOCALHOST.", "a.localhost", "127.0.0.1", "127.9.9.9", "::1", "[::1]"]
)
def test_this_machine_needs_no_network(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "has_route", lambda address: pytest.fail("looked for a route"))
    assert is_local(host)
    assert wait_for_route(host, 0)


@pytest.mark.parametrize("host", ["updates.example.org", "192.0.2.1", "fe80::1%eth0", "localhos"])
def test_other_machines_do(host: str) -> None:
    assert not is_local(host)


def test_a_route_that_is_there_costs_no_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(network, "has_route", lambda address: True)
    monkeypatch.setattr(network, "_route_events", lambda: pytest.fail("listened"))
    assert wait_for_route("updates.example.org", 0)
    assert wait_for_route("192.0.2.7", 0)


@pytest.mark.parametrize("missing", ["pyroute2", "netlink"])
def test_without_pyroute2_or_netlink_the_fetch_decides(
    missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(network, "has_route", lambda address: False)
    if missing == "pyroute2":
        monkeypatch.setitem(sys.modules, "pyroute2", None)
    else:
        require_module("pyroute2")

        def refuse() -> None:
            raise OSError(93, "Protocol not supported")

        monkeypatch.setattr("pyroute2.IPRoute", refuse)
    assert not wait_for_route("192.0.2.1", 1000)


def test_a_server_of_the_local_network_needs_no_default_route(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    require_module("pyroute2")
    monkeypatch.setattr(network, "has_route", lambda address: address == "10.9.0.2")
    # Were its end no event, the next look would come too late.
    monkeypatch.setattr(network, "RESOLVE_AGAIN_S", 1000.0)
    assert wait_for_route("update.lan", DEADLINE_S, lookup=lambda name: ["10.9.0.2"])


def test_one_name_is_looked_up_once_at_a_time_and_again_when_it_found_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    require_module("pyroute2")
    monkeypatch.setattr(network, "has_route", lambda address: address == "10.9.0.2")
    monkeypatch.setattr(network, "RESOLVE_AGAIN_S", 0.01)
    running, answers = threading.Lock(), iter([[], [], ["10.9.0.2"]])

    def lookup(name: str) -> list[str]:
        assert running.acquire(blocking=False)
        with running_until_done(running):
            return next(answers)

    assert wait_for_route("update.lan", DEADLINE_S, lookup=lookup)
    assert next(answers, None) is None


@contextmanager
def running_until_done(lock: threading.Lock) -> Iterator[None]:
    try:
        yield
    finally:
        lock.release()


def test_a_resolver_that_hangs_does_not_outlast_the_deadline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    require_module("pyroute2")
    never = threading.Event()
    monkeypatch.setattr(network, "has_route", lambda address: False)

    def lookup(name: str) -> list[str]:
        never.wait(DEADLINE_S)
        return []

    try:
        with pytest.raises(NoNetwork, match=r"no route to update\.lan for 0\.2 s"):
            wait_for_route("update.lan", 0.2, lookup=lookup)
    finally:
        never.set()


def test_names_that_cannot_be_looked_up_have_no_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve("x" * 300) == []
    assert resolve("\udc80") == []
    assert "127.0.0.1" in resolve("localhost")

    def fail(*arguments: object, **named: object) -> None:
        raise socket.gaierror(-3, "Temporary failure in name resolution")

    monkeypatch.setattr(socket, "getaddrinfo", fail)
    assert resolve("update.lan") == []


def test_an_address_that_is_none_has_no_route() -> None:
    assert not has_route("fe80::1%nothing")
    assert has_route("127.0.0.1")


SCRIPT = """
import subprocess, sys, threading, time
from updater import network
from updater.errors import NoNetwork

def ip(*words):
    subprocess.run(["ip", *words], check=True)

network.RESOLVE_AGAIN_S = 1000.0  # so that the event alone can be in time
listening, real = threading.Event(), network._route_events

def events():
    found = real()
    assert found is not None
    listening.set()
    return found

network._route_events = events
ip("link", "set", "lo", "up")
ip("link", "add", "v0", "type", "veth", "peer", "name", "v1")

def come_up():
    listening.wait(30)
    ip("link", "set", "v0", "up")
    ip("link", "set", "v1", "up")
    ip("addr", "add", "10.9.0.1/24", "dev", "v0")
    if sys.argv[1] in ("default", "hangs"):
        ip("route", "add", "default", "via", "10.9.0.254")

assert not network.has_route("10.9.0.2")
assert not network.has_route(network.DEFAULTS[0])
if sys.argv[1] != "nothing":
    threading.Thread(target=come_up, daemon=True).start()
name = "updates.example.org"
host = {"default": name, "hangs": name}.get(sys.argv[1], "10.9.0.2")
lookup = (lambda name: time.sleep(1000)) if sys.argv[1] == "hangs" else lambda name: []
wait_s = 0.3 if sys.argv[1] == "nothing" else 30
try:
    print(network.wait_for_route(host, wait_s, lookup=lookup))
except NoNetwork as error:
    print(error)
print("pyroute2" in sys.modules)
"""


@pytest.mark.root
@pytest.mark.parametrize(
    ("what", "answer"),
    [
        ("link", "True"),
        ("default", "True"),
        ("hangs", "True"),
        ("nothing", "there was no route to 10.9.0.2 for 0.3 s"),
    ],
)
def test_in_a_network_of_its_own(what: str, answer: str, tmp_path: Path) -> None:
    require_root()
    require_tool("unshare", "ip")
    require_module("pyroute2")
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    done = subprocess.run(
        ["unshare", "--net", sys.executable, "-W", "error", script, what],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=DEADLINE_S,
    )
    assert done.stdout == f"{answer}\nTrue\n", done.stderr

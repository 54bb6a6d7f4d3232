# SPDX-License-Identifier: Apache-2.0
"""Neighbours find each other on real links, by real multicast, and are not led astray."""

from __future__ import annotations

import ipaddress
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.capabilities import require_module, require_root, require_tool
from tests.updater.peers.lan import Host, lan
from updater.peers.discovery import MOST_NEIGHBOURS, about_of
from updater.peers.links import Link, on_link, usable
from updater.peers.service import About
from updater.peers.site import Site

IDENTITY = "0123456789abcdef"
SOON_S, WAIT_S = 10.0, 30.0
UP, LOOPBACK, POINT_TO_POINT, RUNNING, MULTICAST = 0x1, 0x8, 0x10, 0x40, 0x1000
GOOD = UP | RUNNING | MULTICAST

_WATCH = """
import json, sys
from updater.peers.discovery import Discovery
from updater.peers.service import About
from updater.peers.site import Site
identity, site, metered = sys.argv[1:4]
def tell(peers):
    print(json.dumps({peer.about.identity: peer.host for peer in peers}), flush=True)
    return True
about = About(identity, None, ("00112233445566aa",))
with Discovery(Site(site, None), about, 4747, metered.split(), tell):
    sys.stdin.read()
"""

_FLOOD = """
import secrets, socket, sys
from zeroconf import ServiceInfo, Zeroconf
from updater.peers.site import Site
address = sys.argv[1]
zeroconf = Zeroconf(interfaces=[address])
for number in range(300):
    identity = secrets.token_hex(8)
    tag = Site("site", None).tag(identity, b"site")
    name = f"{identity}._caflip._tcp.local."
    where = "192.0.2.1" if number % 2 else address
    info = ServiceInfo(
        "_caflip._tcp.local.", name, port=9, properties={"v": "1", "s": tag, "h": ""},
        server=f"{identity}.local.", addresses=[socket.inet_aton(where)],
    )
    zeroconf.register_service(info, cooperating_responders=True)
print("all", flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def _needs() -> None:
    require_root()
    require_module("zeroconf")
    require_module("pyroute2")
    require_tool("ip", "tc")


class Watcher:
    """Discovery on a host, and what it tells."""

    def __init__(self, host: Host, identity: str, site: str = "site", metered: str = "") -> None:
        self.identity = identity
        self.process = subprocess.Popen(
            host.command(sys.executable, "-c", _WATCH, identity, site, metered),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.seen: dict[str, str] = {}
        self._rest = b""

    def until(self, true: Callable[[dict[str, str]], bool]) -> float:
        """Read what it tells until that is true; return the seconds it took."""
        started_s = time.monotonic()
        assert self.process.stdout is not None
        while not true(self.seen):
            left_s = started_s + WAIT_S - time.monotonic()
            assert select.select([self.process.stdout], [], [], max(0.0, left_s))[0], self.seen
            data = os.read(self.process.stdout.fileno(), 1 << 16)
            assert data, "it has ended"
            *lines, self._rest = (self._rest + data).split(b"\n")
            if lines:
                self.seen = json.loads(lines[-1])
        return time.monotonic() - started_s

    def end(self) -> None:
        """Let it say goodbye."""
        self.process.communicate(b"", timeout=30)


@contextmanager
def watching(*watchers: Watcher) -> Iterator[None]:
    try:
        yield
    finally:
        for watcher in watchers:
            watcher.process.kill()
            watcher.process.communicate()


def names(number: int) -> str:
    return f"{number:016x}"


@pytest.mark.parametrize("ipv4", [True, False])
def test_three_find_each_other_and_one_says_goodbye(ipv4: bool) -> None:
    with lan(ipv4=ipv4) as network:
        three = [Watcher(network.join(), names(n)) for n in range(3)]
        with watching(*three):
            for one in three:
                assert one.until(lambda seen: len(seen) == 2) < SOON_S
                assert set(one.seen) == {names(n) for n in range(3)} - {one.identity}
            three[2].end()
            assert three[0].until(lambda seen: set(seen) == {names(1)}) < SOON_S


def test_a_link_that_goes_and_comes_is_followed() -> None:
    with lan() as network:
        hosts = [network.join(), network.join()]
        two = [Watcher(host, names(n)) for n, host in enumerate(hosts)]
        with watching(*two):
            two[0].until(lambda seen: names(1) in seen)
            hosts[0].link(up=False)
            two[0].until(lambda seen: not seen)
            hosts[0].link(up=True)
            hosts[0].run("ip", "addr", "replace", f"{hosts[0].address}/24", "dev", "eth0")
            two[0].until(lambda seen: names(1) in seen)


def test_another_site_and_metered_links_are_left_alone() -> None:
    with lan() as network:
        hosts = [network.join() for _ in range(4)]
        other = Watcher(hosts[0], names(0), site="elsewhere")
        metered = Watcher(hosts[1], names(1), metered="wwan* eth*")
        third, fourth = (Watcher(host, names(2 + n)) for n, host in enumerate(hosts[2:]))
        with watching(other, metered, third, fourth):
            third.until(lambda seen: names(3) in seen)
            fourth.until(lambda seen: names(2) in seen)
            assert set(third.seen) == {names(3)}
            third.end()
            fourth.until(lambda seen: names(2) not in seen)
            assert fourth.seen == {}


def test_of_a_flood_most_is_dropped_and_what_is_not_on_the_link_is_not_believed() -> None:
    with lan() as network:
        hosts = [network.join() for _ in range(3)]
        first = Watcher(hosts[0], names(0))
        command = hosts[2].command(sys.executable, "-c", _FLOOD, hosts[2].address)
        with (
            watching(first),
            subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            ) as flood,
        ):
            try:
                first.until(lambda seen: len(seen) >= 10)
                assert set(first.seen.values()) == {hosts[2].address}
            finally:
                flood.kill()
        assert len(first.seen) <= MOST_NEIGHBOURS


def test_a_stale_announcement_costs_nothing_but_a_question() -> None:
    """Who is announced and not there is asked in vain; see test_hostile for what that costs."""
    about = about_of(IDENTITY, announced(), Site("site", None))
    assert about == About(IDENTITY, None, ())


def announced(**changes: str | None) -> dict[bytes, bytes | None]:
    tag = Site("site", None).tag(IDENTITY, b"site")
    texts: dict[str, str | None] = {"v": "1", "s": tag, "h": "", **changes}
    return {key.encode(): None if text is None else text.encode() for key, text in texts.items()}


@pytest.mark.parametrize(
    "changes",
    [
        {"v": "2"},
        {"v": None},
        {"s": "0123456789abcdef"},
        {"s": None},
        {"u": "not a tag"},
        {"u": "0123456789ABCDEF"},
        {"h": "0123"},
        {"h": "x" * 16},
        {"h": "0123456789abcdef" * 15 + "0"},
    ],
)
def test_what_is_announced_in_another_form_is_ignored(changes: dict[str, str | None]) -> None:
    assert about_of(IDENTITY, announced(**changes), Site("site", None)) is None


def test_tags_of_equal_things_differ_between_devices_and_sites() -> None:
    one, other = Site("site", b"0123456789abcdef"), Site("site", b"0123456789abcdeF")
    tags = {site.tag(name, b"release") for site in (one, other) for name in ("a", "b")}
    assert len(tags) == 4
    assert all(len(tag) == 16 for tag in tags)


@pytest.mark.parametrize(
    ("name", "flags", "wanted"),
    [
        ("eth0", GOOD, True),
        ("wlan0", GOOD, True),
        ("eth0", GOOD & ~RUNNING, False),
        ("eth0", GOOD & ~UP, False),
        ("eth0", GOOD & ~MULTICAST, False),
        ("lo", GOOD | LOOPBACK, False),
        ("ppp0", GOOD | POINT_TO_POINT, False),
        ("wwan0", GOOD, False),
    ],
)
def test_links_are_used_where_neighbours_cost_nothing(name: str, flags: int, wanted: bool) -> None:
    assert usable(name, flags, ["wwan*", "ppp*"]) is wanted


@pytest.mark.parametrize(
    ("address", "near"),
    [
        ("10.77.0.9", True),
        ("10.77.1.9", False),
        ("192.0.2.1", False),
        ("fe80::1%3", True),
        ("2001:db8::1", False),
    ],
)
def test_a_neighbour_is_on_a_link_of_ours(address: str, near: bool) -> None:
    own = (ipaddress.ip_interface("10.77.0.1/24"), ipaddress.ip_interface("fe80::2/64"))
    assert on_link([Link(2, "eth0", own)], address) is near

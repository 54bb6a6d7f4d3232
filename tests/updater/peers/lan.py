# SPDX-License-Identifier: Apache-2.0
"""A local network in network namespaces: hosts on one bridge, with real multicast.

Nothing of it touches the machine's own network: the bridge is in a namespace, too.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.updater.running import environment

RUN_S = 30.0


@dataclass(frozen=True, slots=True)
class Host:
    """A host on the network.

    Attributes:
        namespace: its own.
        number: the last part of its addresses.
    """

    namespace: str
    number: int

    @property
    def address(self) -> str:
        return f"10.77.0.{self.number}"

    @property
    def address6(self) -> str:
        return f"fd77::{self.number}"

    def command(self, *arguments: str | Path) -> list[str]:
        """Return the command line that runs something on this host."""
        return ["ip", "netns", "exec", self.namespace, *map(str, arguments)]

    def run(self, *arguments: str | Path) -> str:
        """Run something to its end."""
        return subprocess.run(
            self.command(*arguments), check=True, capture_output=True, text=True, timeout=RUN_S
        ).stdout

    def start(self, *arguments: str | Path, errors: int = subprocess.PIPE) -> subprocess.Popen[str]:
        """Start something."""
        return subprocess.Popen(
            self.command(*arguments),
            stdout=subprocess.PIPE,
            stderr=errors,
            env=environment(),
            text=True,
        )

    def sent_bytes(self) -> int:
        """Return the bytes that left this host, headers included."""
        return int(self.run("cat", "/sys/class/net/eth0/statistics/tx_bytes"))

    def limit(self, rate: str) -> None:
        """Let it send no faster than so, such as `20mbit`."""
        self.run(
            *("tc", "qdisc", "replace", "dev", "eth0", "root", "tbf", "rate", rate),
            *("burst", "64kb", "latency", "200ms"),
        )

    def link(self, up: bool) -> None:
        """Plug it in or out."""
        self.run("ip", "link", "set", "eth0", "up" if up else "down")


@dataclass(slots=True)
class Lan:
    """A bridge and its hosts."""

    name: str
    ipv4: bool = True
    hosts: list[Host] = field(default_factory=list)

    @property
    def switch(self) -> str:
        return f"{self.name}sw"

    def join(self) -> Host:
        """Add a host."""
        number = len(self.hosts) + 1
        host = Host(f"{self.name}h{number}", number)
        self.hosts.append(host)
        _ip("netns", "add", host.namespace)
        _ip(
            *("-n", self.switch, "link", "add", f"port{number}", "type", "veth"),
            *("peer", "name", "eth0", "netns", host.namespace),
        )
        _ip("-n", self.switch, "link", "set", f"port{number}", "master", "br0", "up")
        # An address that is still looked at for duplicates cannot be bound.
        host.run(
            "sysctl", "-qw", "net.ipv6.conf.all.accept_dad=0", "net.ipv6.conf.eth0.accept_dad=0"
        )
        if self.ipv4:
            _ip("-n", host.namespace, "addr", "add", f"{host.address}/24", "dev", "eth0")
        _ip("-n", host.namespace, "addr", "add", f"{host.address6}/64", "dev", "eth0", "nodad")
        _ip("-n", host.namespace, "link", "set", "lo", "up")
        _ip("-n", host.namespace, "link", "set", "eth0", "up")
        return host

    def split(self, hosts: Sequence[Host], apart: bool) -> None:
        """Take hosts off the bridge, or bring them back."""
        for host in hosts:
            where = ("nomaster",) if apart else ("master", "br0")
            _ip("-n", self.switch, "link", "set", f"port{host.number}", *where)


@contextmanager
def lan(*, ipv4: bool = True) -> Iterator[Lan]:
    """Make a network without hosts; all that runs on it is ended with it."""
    made = Lan(f"cf{os.urandom(3).hex()}", ipv4)
    _ip("netns", "add", made.switch)
    try:
        # Without snooping: nobody asks who wants which multicast, so it goes to all.
        _ip("-n", made.switch, "link", "add", "br0", "type", "bridge", "mcast_snooping", "0")
        _ip("-n", made.switch, "link", "set", "br0", "up")
        yield made
    finally:
        for namespace in (*(host.namespace for host in made.hosts), made.switch):
            pids = subprocess.run(
                ["ip", "netns", "pids", namespace], capture_output=True, text=True, timeout=RUN_S
            ).stdout.split()
            for pid in pids:
                subprocess.run(["kill", "-9", pid], capture_output=True, timeout=RUN_S)
            _ip("netns", "del", namespace)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, timeout=RUN_S)

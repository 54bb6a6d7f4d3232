# SPDX-License-Identifier: Apache-2.0
"""Waiting for a route to the server, after a boot or a lost link: for the event, not for a time.

Whether there is a route is asked of the kernel by connecting a UDP socket: it looks the route up
and sends nothing. pyroute2 is loaded only if there is none, for the events of the kernel
(rtnetlink(7)). Without pyroute2 nothing is waited for, and the fetch's own deadline decides.
"""

from __future__ import annotations

import ipaddress
import select
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Self

from updater.errors import NoNetwork

if TYPE_CHECKING:
    from pyroute2 import IPRoute

RESOLVE_AGAIN_S = 2.0
"""A resolver that becomes usable is no event of the kernel's: its file is written after a route."""

DEFAULTS = ("192.0.2.1", "2001:db8::1")
"""Addresses of nobody (RFC 5737, RFC 3849): only a default route leads there."""

DISCARD = 9  # RFC 863; a port for an address that nothing is sent to

Lookup = Callable[[str], list[str]]


def wait_for_route(host: str, wait_s: float, *, lookup: Lookup | None = None) -> bool:
    """Wait until there is a route to a host, or to everywhere.

    Args:
        host: name or address, of the server or of the proxy that leads to it; "" for a local path.
        wait_s: how long to wait.
        lookup: from a name to addresses; None for the system's resolver.

    Returns:
        True if there is a route, False if that cannot be told: the fetch will.

    Raises:
        NoNetwork: there was none until the deadline.
    """
    if is_local(host) or _reachable(host):
        return True
    deadline_s = time.monotonic() + wait_s
    events = _route_events()
    if events is None:
        return False
    with events, _Lookup(host, lookup or resolve) as looked_up:
        # Whatever came between the first look and the start of listening is seen now.
        while not _reachable(host) and not any(map(has_route, looked_up.addresses)):
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                raise NoNetwork(f"there was no route to {host} for {wait_s:g} s")
            pause_s = left_s if _address(host) else min(left_s, RESOLVE_AGAIN_S)
            ready = select.select([events.fileno(), looked_up], [], [], pause_s)[0]
            if looked_up in ready:
                looked_up.take()  # and if it found nothing, not at once again
                continue
            if ready:
                _drain(events)
            looked_up.again()
    return True


def is_local(host: str) -> bool:
    """Tell whether a host is this machine, so that no network is needed."""
    address = _address(host)
    if address is not None:
        return ipaddress.ip_address(address.partition("%")[0]).is_loopback
    # RFC 6761, 6.3: these names are this machine's, whatever a resolver says.
    name = host.rstrip(".").lower()
    return name in ("", "localhost") or name.endswith(".localhost")


def has_route(address: str) -> bool:
    """Tell whether the kernel has a route to an address; nothing is sent."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as probe:
            probe.connect((address, DISCARD))
    except OSError:
        return False
    return True


def resolve(name: str) -> list[str]:
    """Return the addresses of a name; none where it cannot be looked up."""
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return list(dict.fromkeys(str(item[4][0]) for item in found))


def _reachable(host: str) -> bool:
    """Tell whether there is a route, as far as that can be told without looking a name up."""
    address = _address(host)
    # With a default route, whether the name can be looked up is the fetch's affair.
    return any(map(has_route, DEFAULTS if address is None else (address,)))


class _Lookup:
    """Looks a name up beside the wait for events: a resolver knows no deadline, and may hang.

    It is for a server of the local network, to which no default route is needed: the resolver is
    there too, or in a file.

    Attributes:
        addresses: what was found last; none of a literal address.
    """

    def __init__(self, host: str, lookup: Lookup) -> None:
        self.addresses: list[str] = []
        self._host = host
        self._lookup = lookup
        self._running = False
        self._told, self._tell = socket.socketpair()

    def __enter__(self) -> Self:
        self.again()
        return self

    def __exit__(self, *unused: object) -> None:
        self._told.close()
        self._tell.close()

    def fileno(self) -> int:
        """Return what can be read from when a lookup has ended, for select(2)."""
        return self._told.fileno()

    def take(self) -> None:
        """Note that a lookup has ended."""
        self._told.recv(1)
        self._running = False

    def again(self) -> None:
        """Begin a lookup, unless one runs."""
        if not self._running and _address(self._host) is None:
            self._running = True
            threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        try:
            self.addresses = self._lookup(self._host)
        finally:
            with suppress(OSError):  # nobody waits any more
                self._tell.send(b"\0")


def _address(host: str) -> str | None:
    """Return a literal address, without the brackets of a URL; None for a name."""
    text = host.strip("[]")
    try:
        ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return text


def _route_events() -> IPRoute | None:
    """Return a socket that tells of routes and addresses; None where that cannot be had."""
    try:
        from pyroute2 import IPRoute
        from pyroute2.netlink import rtnl
    except ImportError:
        return None
    groups = (
        rtnl.RTMGRP_IPV4_ROUTE
        | rtnl.RTMGRP_IPV6_ROUTE
        | rtnl.RTMGRP_IPV4_IFADDR
        | rtnl.RTMGRP_IPV6_IFADDR
    )
    try:
        events = IPRoute()
    except OSError:
        return None
    try:
        events.bind(groups=groups)
    except OSError:
        events.close()
        return None
    return events


def _drain(events: IPRoute) -> None:
    """Take what is there; what it says is looked up again."""
    for _ in events.get():
        pass

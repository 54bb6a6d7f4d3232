# SPDX-License-Identifier: Apache-2.0
"""Which links neighbours are looked for on: up, with multicast, on a shared medium, not metered.

From the kernel by rtnetlink(7); flags from include/uapi/linux/if.h.
"""

from __future__ import annotations

import ipaddress
import select
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TypeAlias

_UP, _LOOPBACK, _POINT_TO_POINT, _RUNNING, _MULTICAST = 0x1, 0x8, 0x10, 0x40, 0x1000

Interface: TypeAlias = ipaddress.IPv4Interface | ipaddress.IPv6Interface


@dataclass(frozen=True, slots=True)
class Link:
    """A link to neighbours.

    Attributes:
        index: of the kernel.
        addresses: ours on it, each with its network.
    """

    index: int
    name: str
    addresses: tuple[Interface, ...]


def usable(name: str, flags: int, metered: Sequence[str]) -> bool:
    """Tell whether neighbours are looked for on a link.

    Args:
        name: of the link.
        flags: of the kernel.
        metered: patterns of names that are not used.
    """
    wanted, unwanted = _UP | _RUNNING | _MULTICAST, _LOOPBACK | _POINT_TO_POINT
    fits = flags & wanted == wanted and not flags & unwanted
    return fits and not any(fnmatchcase(name, pattern) for pattern in metered)


def usable_links(metered: Sequence[str]) -> tuple[Link, ...]:
    """Return the links as they are now, in the kernel's order; those without address left out.

    Raises:
        OSError: the kernel does not tell.
    """
    from pyroute2 import IPRoute

    with IPRoute() as kernel:
        names = {
            link["index"]: link.get_attr("IFLA_IFNAME")
            for link in kernel.get_links()
            if usable(link.get_attr("IFLA_IFNAME"), link["flags"], metered)
        }
        addresses: dict[int, list[Interface]] = {index: [] for index in names}
        for address in kernel.get_addr():
            if address["index"] in names:
                text = address.get_attr("IFA_LOCAL") or address.get_attr("IFA_ADDRESS")
                own = ipaddress.ip_interface(f"{text}/{address['prefixlen']}")
                addresses[address["index"]].append(own)
    return tuple(
        Link(index, names[index], tuple(sorted(found, key=str)))
        for index, found in sorted(addresses.items())
        if found
    )


def on_link(links: Sequence[Link], address: str) -> bool:
    """Tell whether an address is a neighbour's: what is behind a router may cost money."""
    found = ipaddress.ip_address(address.partition("%")[0])
    return any(found in own.network for link in links for own in link.addresses)


@contextmanager
def link_events() -> Iterator[LinkEvents]:
    """Listen to the kernel.

    Raises:
        OSError: it does not tell.
    """
    from pyroute2 import IPRoute
    from pyroute2.netlink import rtnl

    with IPRoute() as kernel:
        kernel.bind(groups=rtnl.RTMGRP_LINK | rtnl.RTMGRP_IPV4_IFADDR | rtnl.RTMGRP_IPV6_IFADDR)

        def take() -> None:
            for _ in kernel.get():
                pass

        yield LinkEvents(kernel.fileno(), take)


class LinkEvents:
    """Tells that links or addresses come or go."""

    def __init__(self, fd: int, take: Callable[[], None]) -> None:
        self._fd = fd
        self._take = take

    def wait(self, timeout_s: float) -> bool:
        """Wait for something to change; False if nothing did."""
        if not select.select([self._fd], [], [], timeout_s)[0]:
            return False
        self._take()
        return True

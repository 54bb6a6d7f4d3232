# SPDX-License-Identifier: Apache-2.0
"""Finding neighbours, and being found: mDNS and DNS-SD (RFC 6762, RFC 6763), `_caflip._tcp`.

What is announced: a random identity, a port, and tags that mean something only to who knows the
site (`site`). No name, version or image. What others announce is checked for form, capped in
number, and used only with an address on a link of ours; an announcement makes nobody trusted, it
only says where to ask.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from queue import Empty, Full, Queue
from typing import TYPE_CHECKING, Self

from updater.peers.client import Peer
from updater.peers.links import Link, link_events, on_link, usable_links
from updater.peers.service import VERSION, About
from updater.peers.site import Site

if TYPE_CHECKING:
    from zeroconf import IPVersion, ServiceBrowser, ServiceInfo, Zeroconf

TYPE = "_caflip._tcp.local."

TTL_S = 60
"""So long an announcement counts; who leaves in good order says so at once."""

MOST_NEIGHBOURS = 64
MOST_TAGS = 16
"""Of 16 digits each: with the rest they fit into one TXT string of 255 bytes (RFC 6763, 6.1)."""

TELL_S = 0.2
JOIN_AGAIN_S = 1.0
RESOLVE_MS = 500

_NAME = re.compile(rf"([0-9a-f]{{16}})\.{re.escape(TYPE)}")
_TAG = re.compile(r"[0-9a-f]{16}")


class Discovery:
    """Announces this device and tells who else is there, as links come and go."""

    def __init__(
        self,
        site: Site,
        about: About,
        port: int,
        metered: Sequence[str],
        tell: Callable[[tuple[Peer, ...]], bool],
    ) -> None:
        """Begin.

        Args:
            site: only its members are told of.
            about: what to announce; None of it in clear.
            port: where we serve.
            metered: names of links that are not used, as patterns.
            tell: given all neighbours when they changed; False if it has to be told again.
        """
        self._site = site
        self._about = about
        self._port = port
        self._metered = metered
        self._tell = tell
        self._names: Queue[str] = Queue(4 * MOST_NEIGHBOURS)
        self._found: dict[str, Peer] = {}
        self._links: tuple[Link, ...] = ()
        self._zeroconf: Zeroconf | None = None
        self._browser: ServiceBrowser | None = None
        self._looked = False  # once; before that there is nothing to tell
        self._closing = threading.Event()
        self._threads = [
            threading.Thread(target=work, name="discovery", daemon=True)
            for work in (self._follow_links, self._resolve)
        ]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        for thread in self._threads:
            thread.join()

    def _follow_links(self) -> None:
        try:
            with link_events() as events:
                while not self._closing.is_set():
                    links = usable_links(self._metered)
                    if links != self._links or self._zeroconf is None:
                        self._leave()
                        self._join(links)
                    again_s = time.monotonic() + JOIN_AGAIN_S
                    while not self._closing.is_set() and not events.wait(TELL_S):
                        if self._zeroconf is None and time.monotonic() > again_s:
                            break
        finally:
            self._leave()

    def _join(self, links: tuple[Link, ...]) -> None:
        from zeroconf import ServiceBrowser, Zeroconf

        self._links = links
        places: list[str | int] = []
        for link in links:
            places += [str(own.ip) for own in link.addresses if own.version == 4]
            if any(own.version == 6 for own in link.addresses):
                places.append(link.index)
        if not places:
            self._looked = True
            return
        try:
            zeroconf = Zeroconf(interfaces=places, ip_version=_versions(links))
        except OSError:
            return  # an address that has just come may be tentative, and cannot be bound yet
        self._zeroconf = zeroconf
        self._browser = ServiceBrowser(zeroconf, TYPE, handlers=[self._changed])
        # The name is random: nobody has to be asked whether it is taken.
        zeroconf.register_service(self._service(links), cooperating_responders=True)
        self._looked = True

    def _leave(self) -> None:
        gone, self._zeroconf, self._browser = self._zeroconf, None, None
        if gone is not None:
            gone.close()  # says goodbye
        self._found.clear()

    def _service(self, links: Sequence[Link]) -> ServiceInfo:
        from zeroconf import ServiceInfo

        about = self._about
        properties = {
            "v": str(VERSION),
            "s": self._site.tag(about.identity, b"site"),
            "h": "".join(about.holds[: MOST_TAGS - 2]),
        }
        if about.updating is not None:
            properties["u"] = about.updating
        return ServiceInfo(
            TYPE,
            f"{about.identity}.{TYPE}",
            port=self._port,
            properties=properties,
            server=f"{about.identity}.local.",
            addresses=[own.ip.packed for link in links for own in link.addresses],
            host_ttl=TTL_S,
            other_ttl=TTL_S,
        )

    def _changed(self, zeroconf: Zeroconf, service_type: str, name: str, **_: object) -> None:
        # In zeroconf's own thread. Of a flood the rest is dropped; who is real announces again.
        with suppress(Full):
            self._names.put_nowait(name)

    def _resolve(self) -> None:
        """Look up names that appeared, changed or went, and tell of the result."""
        told: tuple[Peer, ...] | None = None  # that there is nobody yet is told, too
        due_s = 0.0
        while not self._closing.is_set():
            with suppress(Empty):
                self._look_up(self._names.get(timeout=TELL_S))
            peers = tuple(sorted(self._found.values(), key=lambda peer: peer.about.identity))
            if self._looked and peers != told and time.monotonic() >= due_s and self._tell(peers):
                told, due_s = peers, time.monotonic() + TELL_S

    def _look_up(self, name: str) -> None:
        match, zeroconf = _NAME.fullmatch(name), self._zeroconf
        if match is None or zeroconf is None or match[1] == self._about.identity:
            return
        if name not in self._found and len(self._found) >= MOST_NEIGHBOURS:
            return
        peer = self._peer(zeroconf, name, match[1])
        if peer is None:
            self._found.pop(name, None)
        else:
            self._found[name] = peer

    def _peer(self, zeroconf: Zeroconf, name: str, identity: str) -> Peer | None:
        from zeroconf import IPVersion, ServiceInfo

        info = ServiceInfo(TYPE, name)
        if not info.load_from_cache(zeroconf):
            try:
                if not info.request(zeroconf, RESOLVE_MS):
                    return None
            except Exception:  # it is being closed, because links changed
                return None
        about = about_of(identity, info.properties, self._site)
        hosts = [host for host in info.parsed_scoped_addresses(IPVersion.All) if _is_ours(host)]
        near = [host for host in hosts if on_link(self._links, host)]
        if about is None or not near or not info.port:
            return None
        return Peer(about, near[0], info.port)


def about_of(identity: str, properties: dict[bytes, bytes | None], site: Site) -> About | None:
    """Read what somebody announces; None where it is not for us.

    Args:
        identity: as it calls itself.
        properties: of the TXT record.
        site: ours.
    """
    text = {
        key.decode("latin-1"): value.decode("latin-1")
        for key, value in properties.items()
        if value is not None
    }
    if text.get("v") != str(VERSION) or text.get("s") != site.tag(identity, b"site"):
        return None
    updating, holds = text.get("u"), text.get("h", "")
    tags = [holds[start : start + 16] for start in range(0, len(holds), 16)]
    if not all(map(_TAG.fullmatch, [*tags, *([] if updating is None else [updating])])):
        return None
    return About(identity, updating, tuple(tags[:MOST_TAGS]))


def _versions(links: Sequence[Link]) -> IPVersion:
    from zeroconf import IPVersion

    versions = {own.version for link in links for own in link.addresses}
    if versions == {4}:
        return IPVersion.V4Only
    return IPVersion.V6Only if versions == {6} else IPVersion.All


def _is_ours(host: str) -> bool:
    """Tell whether an address can be connected to: a link-local one needs its zone."""
    return not host.lower().startswith("fe80:") or "%" in host

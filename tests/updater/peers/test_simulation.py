# SPDX-License-Identifier: Apache-2.0
"""Thirty-two devices in one process: the swarm itself, without sockets or slots.

Labelled a simulation: neighbours are asked by calls instead of HTTP, and are known at once. What is
real is who asks whom for what (`swarm`, `window`, `owners`).
"""

from __future__ import annotations

import secrets
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import cast

import pytest

from images.digests import ChunkId, Digest
from images.events import ignore
from images.sources import Source
from images.stores.chain import Chain
from images.stores.protocol import Answer, ChunkRef, Stat
from updater.peers.client import Client, Peer, PeerReport, Said
from updater.peers.holdings import HERE
from updater.peers.neighbourhood import Neighbourhood
from updater.peers.owners import shares
from updater.peers.service import About
from updater.peers.swarm import Swarm

DIGEST = Digest.SHA512_256
CHUNKS = 96
DEADLINE_S = 90.0


def chunks() -> list[tuple[ChunkRef, bytes]]:
    found = []
    for number in range(CHUNKS):
        data = number.to_bytes(2, "little") * 32
        found.append((ChunkRef(number, DIGEST.of(data), len(data)), data))
    return found


@dataclass(slots=True)
class Origin:
    """A store that counts and takes its time: one chunk after the other, as a slow link does."""

    data: dict[ChunkId, bytes]
    asked: Counter[ChunkId] = field(default_factory=Counter)
    link: threading.Lock = field(default_factory=threading.Lock)
    name: str = "origin"
    remote: bool = True

    def fetch(self, wanted: Iterable[ChunkRef], digest: Digest) -> Iterator[Answer]:
        for ref in wanted:
            with self.link:
                time.sleep(0.01)
                self.asked[ref.id] += 1
            yield Answer(ref, self.data[ref.id], None, ref.length, self.name)

    def stat(self, wanted: Iterable[ChunkRef]) -> Iterator[Stat]:
        return (Stat(ref, True, ref.length) for ref in wanted)

    def close(self) -> None:
        """Nothing is open."""


@dataclass(slots=True)
class Device:
    """A device of the simulation; stands for its `Neighbourhood`, too."""

    site: list[Device]
    states: dict[ChunkId, int] = field(default_factory=dict)
    data: dict[ChunkId, bytes] = field(default_factory=dict)
    identity: str = field(default_factory=lambda: secrets.token_hex(8))

    def peers(self) -> tuple[Peer, ...]:
        return tuple(
            Peer(About(one.identity, "updates"), one.identity, 1)
            for one in list(self.site)
            if one is not self
        )

    def has_looked_for(self, seconds: float) -> bool:
        return True

    def updates_with(self, about: About) -> bool:
        return about.updating is not None

    def note(self, chunk_id: ChunkId, state: int) -> None:
        self.states[chunk_id] = state

    def update(self, origin: Origin) -> None:
        refs = [ref for ref, _ in chunks()]
        swarm = Swarm(Chain([origin]), cast(Neighbourhood, self), ignore)
        for answer in swarm.fetch(refs, DIGEST):
            assert answer.data is not None
            self.data[answer.ref.id] = answer.data


@dataclass(slots=True)
class Caller:
    """Stands for a `Client`: asks by calls."""

    peer: Peer
    of: Device
    dropped: str | None = None
    batch: int = 8

    def have(self, refs: Sequence[ChunkRef]) -> Said:
        states = self.of.states
        here = [ref for ref in refs if states.get(ref.id) == HERE]
        return Said(here, [ref for ref in refs if states.get(ref.id, HERE) != HERE])

    def fetch(self, refs: Sequence[ChunkRef], digest: Digest) -> Iterator[Answer]:
        for ref in refs:
            yield Answer(ref, self.of.data[ref.id], None, ref.length, "peer", Source.PEER)

    def waste(self, length: int) -> None:
        """Nobody counts here."""

    def close(self) -> None:
        """Nothing is open."""

    @property
    def report(self) -> PeerReport:
        return PeerReport(self.peer.address, 0, 0, 0, 0, self.dropped)


def run(count: int, monkeypatch: pytest.MonkeyPatch, *, leave: int = 0) -> Counter[ChunkId]:
    """Update so many devices at once, of which some vanish on the way; return what was asked."""
    site: list[Device] = []
    site += [Device(site) for _ in range(count)]
    by_name = {one.identity: one for one in site}

    def client(peer: Peer, site: object) -> Client:
        return cast(Client, Caller(peer, by_name[peer.about.identity]))

    monkeypatch.setattr("updater.peers.swarm.Client", client)
    origin = Origin({ref.id: data for ref, data in chunks()})
    staying = site[leave:]
    threads = [threading.Thread(target=one.update, args=(origin,), daemon=True) for one in staying]
    for thread in threads:
        thread.start()
    if leave:  # these were announced, own chunks, and never get any
        threading.Timer(1.0, lambda: site.__delitem__(slice(0, leave))).start()
    end_s = time.monotonic() + DEADLINE_S
    for thread in threads:
        thread.join(max(0.0, end_s - time.monotonic()))
    right = {ref.id: data for ref, data in chunks()}
    assert all(one.data == right for one in staying)
    return origin.asked


def test_thirty_two_devices_take_each_chunk_once(monkeypatch: pytest.MonkeyPatch) -> None:
    # A thousand threads of one interpreter answer late; as devices they would not.
    for patience in ("PATIENCE_S", "FIRST_ANSWERS_S"):
        monkeypatch.setattr(f"updater.peers.window.{patience}", DEADLINE_S)
    asked = run(32, monkeypatch)
    assert len(asked) == CHUNKS
    assert asked.total() <= 1.15 * CHUNKS


def test_those_that_vanish_change_the_owners_and_not_the_result(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = run(8, monkeypatch, leave=3)
    assert len(asked) == CHUNKS
    assert asked.total() <= 1.3 * CHUNKS


def test_without_neighbours_everything_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = run(1, monkeypatch)
    assert set(asked.values()) == {1}


def test_without_owners_each_would_ask_for_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """The measure can fail: three that do not know of each other cost three updates."""
    monkeypatch.setattr(Device, "peers", lambda self: ())
    assert run(3, monkeypatch).total() == 3 * CHUNKS


def test_owners_are_the_same_whoever_computes_them_and_change_little() -> None:
    refs = [ref for ref, _ in chunks()]
    names = [secrets.token_hex(8) for _ in range(8)]
    before = shares(names, refs)
    assert before == shares(reversed(names), refs)
    assert sorted(ref.number for owned in before.values() for ref in owned) == list(range(CHUNKS))
    assert min(len(owned) for owned in before.values()) > CHUNKS // 8 // 4
    after = shares(names[1:], refs)
    for name in names[1:]:
        kept = {ref.number for ref in before[name]}
        assert kept <= {ref.number for ref in after[name]}

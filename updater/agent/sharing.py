# SPDX-License-Identifier: Apache-2.0
"""Neighbours during an update: what this device gives them, and how they join the stores."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from images.durable import os_errors
from images.index import Index
from images.locator import parse_locator
from images.planning import Plan
from images.stores.chain import Chain
from images.stores.opening import open_locators
from updater.agent.candidate import Candidate
from updater.agent.events import Noticed
from updater.agent.machine import Machine
from updater.slots import Slot, SlotGroup
from updater.state import Content

if TYPE_CHECKING:
    from updater.peers.client import PeerReport
    from updater.peers.holdings import Held
    from updater.peers.swarm import Swarm

WHOLE = (Content.VERIFIED, Content.ACTIVE, Content.GOOD)
"""What a slot has to be for all of its index to be there; each chunk is digested all the same."""


class Chunks:
    """Where an update takes chunks from.

    Attributes:
        chain: cache, local stores, neighbours, remote stores.
        swarm: of the chain; None where nothing is shared.
    """

    def __init__(
        self, chain: Chain, swarm: Swarm | None = None, coming: dict[str, Held] | None = None
    ) -> None:
        self.chain = chain
        self.swarm = swarm
        self._coming = coming or {}

    @property
    def reports(self) -> tuple[PeerReport, ...]:
        """What each neighbour gave."""
        return () if self.swarm is None else self.swarm.reports

    def planned(self, slot_class: str, plan: Plan) -> None:
        """Let neighbours have what the target holds already."""
        from updater.peers.holdings import HERE

        present = self._coming[slot_class].present if slot_class in self._coming else None
        if present is not None:
            sources = plan.sources
            for leader in sources.leaders():
                present[leader] = HERE * any(sources.right[n] for n in sources.positions(leader))


@contextmanager
def open_chunks(
    machine: Machine,
    target: SlotGroup,
    candidate: Candidate,
    *,
    taking: bool,
    offline: bool = False,
    keep_local: bool = False,
) -> Iterator[Chunks]:
    """Open stores and, where that is configured, join the neighbours.

    Args:
        machine: this device.
        target: the slot to be filled.
        candidate: proved and judged.
        taking: what is fetched goes onto the target, where neighbours can have it.
        offline: take chunks from seeds and the cache only.
        keep_local: see `Chain`.

    Raises:
        SettingInvalid, NotAccessible: settings make no sense.
    """
    extra = map(parse_locator, machine.stores.extra_stores)
    places = [] if offline else [*candidate.stores, *extra]
    if offline or not machine.config.peers.enabled:
        with open_locators(places, machine.stores, machine.sink, keep_local=keep_local) as chain:
            yield Chunks(chain)
        return
    from updater.peers.holdings import Holdings
    from updater.peers.neighbourhood import Neighbourhood
    from updater.peers.swarm import Swarm

    require_discovery(machine)
    with ExitStack() as stack:
        coming = {
            slot_class: _coming(stack, target.slots[slot_class], image.index)
            for slot_class, image in candidate.images.items()
        }
        whole, shas = held_on_slots(stack, machine, without=target)
        hood = stack.enter_context(
            Neighbourhood(
                machine.config.peers,
                Holdings([*coming.values(), *whole]),
                indexes=shas,
                release=candidate.digest if taking else None,
            )
        )
        swarms: list[Swarm] = []

        def join(origin: Chain) -> Swarm:
            swarms.append(Swarm(origin, hood, machine.sink))
            return swarms[0]

        chain = stack.enter_context(
            open_locators(places, machine.stores, machine.sink, keep_local=keep_local, join=join)
        )
        yield Chunks(chain, swarms[0], coming)


def require_discovery(machine: Machine) -> None:
    """Tell if neighbours cannot be discovered here; those of the configuration can be asked."""
    if machine.config.peers.discover and importlib.util.find_spec("zeroconf") is None:
        machine.sink(
            Noticed(
                "peers.no-discovery",
                "neighbours are not discovered: zeroconf is not installed (extra `peers`)",
            )
        )


def held_on_slots(
    stack: ExitStack, machine: Machine, *, without: SlotGroup | None = None
) -> tuple[list[Held], list[bytes]]:
    """Open what the slots hold of signed indexes.

    Args:
        stack: closes them.
        machine: this device.
        without: the slot that is being written.

    Returns:
        What is held, and the SHA-256 of each index.
    """
    from updater.peers.holdings import Held

    held, shas = [], []
    for group in machine.groups:
        record = machine.record(group)
        if group is without or record.content not in WHOLE:
            continue
        for slot_class, image in record.images.items():
            index = machine.files.load_index(group.boot, slot_class, image.index_sha256)
            if index is not None and slot_class in group.slots:
                slot = group.slots[slot_class]
                held.append(Held(index, _open(stack, slot.path), slot.offset))
                shas.append(image.index_sha256)
    return held, shas


def _coming(stack: ExitStack, slot: Slot, index: Index) -> Held:
    from updater.peers.holdings import Held, presence

    return Held(index, _open(stack, slot.path), slot.offset, presence(index))


def _open(stack: ExitStack, path: Path) -> int:
    with os_errors(str(path)):
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    stack.callback(os.close, fd)
    return fd

# SPDX-License-Identifier: Apache-2.0
"""What an update would cost, before anything is written; and the download by itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain

from images.errors import NoSpace
from images.events import Phase
from images.extraction import Options, plan
from images.planning import Plan
from images.sources import Source
from images.stores.chain import Chain
from updater.agent.candidate import Candidate
from updater.agent.events import Step, StepBegan
from updater.agent.machine import Machine, target_of
from updater.agent.seeding import seeds_for
from updater.agent.sharing import open_chunks
from updater.errors import ConfigInvalid
from updater.slots import SlotGroup
from updater.state import Rates


@dataclass(frozen=True, slots=True)
class ImagePreview:
    """What one image would take.

    Attributes:
        plan: where each chunk comes from.
        seconds: by phase, from the rates of an earlier update; empty if there was none.
    """

    slot_class: str
    device: str
    plan: Plan
    seconds: Mapping[str, float]


def preview(
    machine: Machine, target: SlotGroup, candidate: Candidate, *, ask_stores: bool
) -> tuple[ImagePreview, ...]:
    """Plan every image of a candidate; nothing is written.

    Args:
        machine: this device.
        target: the slot.
        candidate: proved and judged.
        ask_stores: ask remote stores for lengths, for an exact download size.

    Raises:
        ImageError: see `images.plan`.
    """
    found = []
    with open_chunks(machine, target, candidate, taking=False) as chunks:
        for slot_class, image in candidate.images.items():
            slot = target.slots[slot_class]
            machine.sink(StepBegan(Step.PLAN, slot.name))
            made = plan(
                image.index,
                target_of(slot),
                seeds=seeds_for(machine, target, slot_class),
                stores=chunks.chain,
                options=Options(ask_stores=ask_stores),
                sink=machine.sink,
            )
            seconds = _seconds(made, machine.state.rates)
            found.append(ImagePreview(slot_class, str(slot.path), made, seconds))
    return tuple(found)


def download(machine: Machine, target: SlotGroup, candidate: Candidate) -> tuple[int, int]:
    """Bring into the cache what the target and the seeds do not have; the target is not written.

    Returns:
        Chunks and compressed bytes that were fetched now.

    Raises:
        ConfigInvalid: there is no cache to keep them in.
        ChunkMissing, ChunkInvalid, StoreUnavailable: some chunk cannot be had; the others stay.
    """
    if machine.stores.cache is None:
        raise ConfigInvalid("there is no cache to fetch into", hint="set stores.cache")
    count = fetched = 0
    with open_chunks(machine, target, candidate, taking=False, keep_local=True) as found:
        stores = found.chain
        for slot_class, image in candidate.images.items():
            slot = target.slots[slot_class]
            machine.sink(StepBegan(Step.PLAN, slot.name))
            made = plan(
                image.index,
                target_of(slot),
                seeds=seeds_for(machine, target, slot_class),
                stores=stores,
                sink=machine.sink,
            )
            machine.sink(StepBegan(Step.DOWNLOAD, slot.name))
            wanted = chain(made.refs(Source.PEER), made.refs(Source.STORE))
            for answer in stores.fetch(wanted, image.index.digest):
                if answer.error is not None:
                    raise answer.error
                count, fetched = count + 1, fetched + answer.transferred
            _see_that_it_was_kept(stores, made)
    return count, fetched


def _see_that_it_was_kept(stores: Chain, made: Plan) -> None:
    """A cache that cannot be written ends no fetch; here it is what the fetch is for.

    Raises:
        NoSpace: it does not have what was fetched.
    """
    assert stores.cache is not None
    lost = sum(not stat.present for stat in stores.cache.stat(made.refs(Source.STORE)))
    if lost:
        raise NoSpace(f"{lost} chunks could not be kept in {stores.cache.name}")


def _seconds(made: Plan, rates: Rates) -> Mapping[str, float]:
    """Return how long each phase should take, by what it took before."""
    known = {phase.value: phase for phase in Phase}
    return {
        name: made.index.blob_length / rate
        for name, rate in rates.by_phase.items()
        if name in known and rate > 0
    }

# SPDX-License-Identifier: Apache-2.0
"""What an update would cost, before anything is written; and the download by itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from images.errors import NoSpace
from images.events import Phase
from images.extraction import Options, plan
from images.locator import parse_locator
from images.planning import Plan
from images.sources import Source
from images.stores.chain import Chain
from images.stores.opening import open_locators
from updater.agent.candidate import Candidate
from updater.agent.events import Step, StepBegan
from updater.agent.machine import Machine, target_of
from updater.agent.seeding import seeds_for
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
    extra = map(parse_locator, machine.stores.extra_stores)
    with open_locators([*candidate.stores, *extra], machine.stores, machine.sink) as stores:
        for slot_class, image in candidate.images.items():
            slot = target.slots[slot_class]
            machine.sink(StepBegan(Step.PLAN, slot.name))
            made = plan(
                image.index,
                target_of(slot),
                seeds=seeds_for(machine, target, slot_class),
                stores=stores,
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
    chunks = fetched = 0
    places = [*candidate.stores, *map(parse_locator, machine.stores.extra_stores)]
    with open_locators(places, machine.stores, machine.sink, keep_local=True) as stores:
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
            for answer in stores.fetch(made.refs(Source.STORE), image.index.digest):
                if answer.error is not None:
                    raise answer.error
                chunks, fetched = chunks + 1, fetched + answer.transferred
            _see_that_it_was_kept(stores, made)
    return chunks, fetched


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

# SPDX-License-Identifier: Apache-2.0
"""What an update would cost, before anything is written; and the download by itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from images.events import Phase
from images.extraction import Options, plan
from images.locator import parse_locator
from images.planning import Plan
from images.sources import Source
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
                sink=machine.sink,
            )
            machine.sink(StepBegan(Step.DOWNLOAD, slot.name))
            for answer in stores.fetch(made.refs(Source.STORE), image.index.digest):
                if answer.error is not None:
                    raise answer.error
                chunks, fetched = chunks + 1, fetched + answer.transferred
    return chunks, fetched


def _seconds(made: Plan, rates: Rates) -> Mapping[str, float]:
    """Return how long each phase should take, by what it took before."""
    known = {phase.value: phase for phase in Phase}
    return {
        name: made.index.blob_length / rate
        for name, rate in rates.by_phase.items()
        if name in known and rate > 0
    }

# SPDX-License-Identifier: Apache-2.0
"""What is already here and may hold chunks of the new image: seeds, best first."""

from __future__ import annotations

from contextlib import suppress

from fsprobe import ProbeError, probe
from images.specs import SeedSpec
from updater.agent.machine import Machine
from updater.slots import Slot, SlotGroup
from updater.state import Content


def seeds_for(machine: Machine, target: SlotGroup, slot_class: str) -> list[SeedSpec]:
    """Return the seeds for one class: the running slot's device of that class, then its others,
    those of further slots that are not the target, and what the configuration adds.
    """
    running = [] if machine.running is None else [machine.running]
    others = [group for group in machine.groups if group not in (*running, target)]
    seeds = []
    for group in (*running, *others):
        record = machine.record(group)
        for name in sorted(group.slots, key=lambda name: name != slot_class):
            index = None
            if record.content in (Content.GOOD, Content.ACTIVE) and name in record.images:
                sha256 = record.images[name].index_sha256
                index = machine.files.index_path(group.boot, name, sha256)
            slot = group.slots[name]
            seeds.append(
                SeedSpec(slot.path, slot.offset, _used_length(slot), index if index else None)
            )
    return [*seeds, *machine.config.update.seeds]


def _used_length(slot: Slot) -> int:
    """Return the bytes of a slot that its file system uses; all of them where none is known."""
    with suppress(ProbeError, OSError):
        found = probe(slot.path, slot.offset, slot.length)
        if found is not None and found.length is not None:
            return found.length
    return slot.length

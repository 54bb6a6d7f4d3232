# SPDX-License-Identifier: Apache-2.0
"""From an index to an image on a target: open, plan, assemble."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from images.events import EventSink, ignore
from images.index import Index
from images.planning import Plan, make_plan
from images.seeds import Seeds
from images.specs import SeedSpec, TargetSpec
from images.target import open_for_plan, open_target

if TYPE_CHECKING:
    from images.assembly import Report
    from images.stores.chain import Chain
    from images.target import Target


@dataclass(frozen=True, slots=True)
class Options:
    """How to extract; the defaults are casync's.

    Attributes:
        seed_output: use what the target holds already, beyond what is right where it stands.
        reflink: share blocks with seeds where the file system can.
        punch_holes: make holes of zeros in regular files.
        ask_stores: let remote stores tell what they have, for an exact download size.
        threads: None for as many as there are cores.
    """

    seed_output: bool = True
    reflink: bool = True
    punch_holes: bool = True
    ask_stores: bool = False
    threads: int | None = None


def _approve_any(plan: Plan) -> None:
    """Be content with every plan."""


def plan(
    index: Index,
    target: TargetSpec,
    *,
    seeds: Sequence[SeedSpec],
    stores: Chain,
    options: Options | None = None,
    sink: EventSink = ignore,
) -> Plan:
    """Work out what `extract` would do; nothing is written.

    Raises:
        as `extract`, save what only writing can meet.
    """
    options = options or Options()
    with (
        open_for_plan(target, index.blob_length) as opened,
        Seeds(_with_output(seeds, target, options), sink) as found,
    ):
        return _plan_on(opened, index, found, stores, options, sink)


def extract(
    index: Index,
    target: TargetSpec,
    *,
    seeds: Sequence[SeedSpec],
    stores: Chain,
    options: Options | None = None,
    sink: EventSink = ignore,
    approve: Callable[[Plan], None] = _approve_any,
) -> tuple[Plan, Report]:
    """Bring the image onto the target and prove that it is there.

    Args:
        index: of the image; whoever signs or checks signatures has done so before.
        target: device, region or file.
        seeds: data that is already here.
        stores: where the rest comes from.
        options: None for the defaults.
        sink: takes progress events.
        approve: called with the plan before the first byte is written, while the target is held;
            what it raises ends the run.

    Raises:
        TargetTooSmall, TargetBusy, NotAccessible, NoSpace: a person has to act.
        ChunkMissing, ChunkInvalid, StoreUnavailable: no source has some chunk; what was brought
            stays, and the next run goes on from there.
        DeviceFault: the target does not hold what was written.
    """
    from images.assembly import assemble  # a plan alone needs nothing of it

    options = options or Options()
    with (
        open_target(target, index.blob_length, punch_holes=options.punch_holes) as opened,
        Seeds(_with_output(seeds, target, options), sink) as found,
    ):
        made = _plan_on(opened, index, found, stores, options, sink)
        approve(made)
        report = assemble(
            made,
            opened,
            seeds=found,
            stores=stores,
            sink=sink,
            threads=options.threads,
            reflink=options.reflink,
        )
        return made, report


def _plan_on(
    target: Target, index: Index, seeds: Seeds, stores: Chain, options: Options, sink: EventSink
) -> Plan:
    return make_plan(
        index,
        target,
        seeds=seeds,
        stores=stores,
        sink=sink,
        threads=options.threads,
        seed_target=options.seed_output,
        ask_stores=options.ask_stores,
    )


def _with_output(
    seeds: Sequence[SeedSpec], target: TargetSpec, options: Options
) -> Sequence[SeedSpec]:
    """Add the file that is about to be replaced: the new one grows beside it."""
    replaced = not (target.in_place or target.region) and target.path.is_file()
    if options.seed_output and replaced:
        return [SeedSpec(target.path), *seeds]
    return seeds

# SPDX-License-Identifier: Apache-2.0
"""One image onto one slot: planned, written where it differs, settled, and recognised.

What follows the engine's own proof (every chunk read back from the medium and digested) is a look
at the superblock, as whatever mounts the slot will see it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from fsprobe import ProbeError, probe
from images.durable import os_errors
from images.events import Phase
from images.extraction import Options, extract
from images.index import Index
from images.planning import Plan, Share
from images.sources import Source
from images.specs import SeedSpec, TargetSpec
from images.stores.chain import Chain
from updater.agent.events import AgentSink
from updater.errors import ImageMismatch
from updater.releases.document import FileSystem


@dataclass(frozen=True, slots=True)
class ImageReport:
    """What writing one image took.

    Attributes:
        sources: chunks and bytes by source; they add up to the whole image.
        bytes_written: that went to the medium.
        bytes_skipped: of the image that were right already, or shared by the file system.
        bytes_fetched: that came from the stores, compressed, failures included.
        bytes_from_neighbours: the same of neighbours, failures not included.
        seconds: wall time by phase.
    """

    slot_class: str
    device: str
    image_bytes: int
    chunks: int
    sources: Mapping[Source, Share]
    bytes_written: int
    bytes_skipped: int
    bytes_fetched: int
    bytes_from_neighbours: int
    seconds: Mapping[Phase, float]


def write_image(
    slot_class: str,
    index: Index,
    target: TargetSpec,
    *,
    expected: FileSystem | None,
    seeds: Sequence[SeedSpec],
    stores: Chain,
    approve: Callable[[Plan], None],
    sink: AgentSink,
    threads: int | None = None,
) -> ImageReport:
    """Make a slot hold an image and prove it.

    Args:
        slot_class: for the report.
        index: of the image, verified.
        target: the slot.
        expected: what the release says that the image holds.
        seeds: data that is already here.
        stores: where the rest comes from.
        approve: called with the plan before the first byte is written.
        sink: takes events.
        threads: None for as many as there are cores.

    Raises:
        ImageMismatch: the slot holds the image, and it is not what the release says.
        ImageError: see `images.extract`.
    """
    _, report = extract(
        index,
        target,
        seeds=seeds,
        stores=stores,
        options=Options(threads=threads),
        sink=sink,
        approve=approve,
    )
    _recognise(target, index.blob_length, expected)
    return ImageReport(
        slot_class,
        str(target.path),
        index.blob_length,
        len(index),
        report.shares,
        report.bytes_written,
        max(0, index.blob_length - report.bytes_written),
        report.transferred,
        report.transferred_by_peers,
        report.seconds,
    )


def _recognise(target: TargetSpec, image_length: int, expected: FileSystem | None) -> None:
    """Compare the slot's superblock with what the release says.

    Raises:
        ImageMismatch: it is another one, or none.
    """
    if expected is None:
        return
    try:
        with os_errors(str(target.path)):
            found = probe(target.path, target.offset, image_length)
    except ProbeError as error:
        raise ImageMismatch(f"{target.path}: {error}") from error
    facts = None if found is None else FileSystem(found.kind, found.length, found.uuid)
    if facts != expected:
        raise ImageMismatch(
            f"{target.path} holds {_described(facts)}; the release says {_described(expected)}"
        )


def _described(file_system: FileSystem | None) -> str:
    if file_system is None:
        return "no file system that is known"
    length = "" if file_system.length is None else f" of {file_system.length} bytes"
    uuid = "" if file_system.uuid is None else f" with UUID {file_system.uuid}"
    return f"{file_system.kind}{length}{uuid}"

# SPDX-License-Identifier: Apache-2.0
"""What updates print: what was done, what would be, and how the slots stand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from updater.agent.install import Outcome, UpdateReport
from updater.agent.preview import ImagePreview
from updater.agent.writing import ImageReport
from updater.plan_table import PlanResult, plan_lines, plan_result
from updater.units import format_bytes, format_time


@dataclass(frozen=True, slots=True)
class PreviewResult:
    """What an update would do.

    Attributes:
        images: by class.
        seconds: by class and phase, from the rates of an earlier update.
    """

    version: str
    sequence: int | None
    slot: str
    images: Mapping[str, PlanResult]
    seconds: Mapping[str, Mapping[str, float]]
    caveats: tuple[str, ...]


def preview_result(
    version: str,
    sequence: int | None,
    slot: str,
    images: Sequence[ImagePreview],
    caveats: tuple[str, ...],
) -> PreviewResult:
    """Return the record of a preview."""
    return PreviewResult(
        version,
        sequence,
        slot,
        {image.slot_class: plan_result(image.plan, image.device) for image in images},
        {image.slot_class: image.seconds for image in images},
        caveats,
    )


def preview_lines(result: PreviewResult) -> list[str]:
    """Return a preview as text."""
    lines = [f"{_named(result.version, result.sequence)} onto slot {result.slot}"]
    for slot_class, plan in result.images.items():
        lines += ["", f"{slot_class} on {plan.target}", *plan_lines(plan)]
        seconds = result.seconds[slot_class]
        if seconds:
            parts = ", ".join(f"{phase} {format_time(s)}" for phase, s in seconds.items())
            lines.append(f"time:     {format_time(sum(seconds.values()))} as last time ({parts})")
        else:
            lines.append("time:     not known before the first update")
    return lines


def report_lines(report: UpdateReport) -> list[str]:
    """Return what an update did, as text."""
    lines = [f"{_named(report.version, report.sequence)}: {report.outcome.value}"]
    lines += [line for image in report.images for line in _image_lines(image)]
    lines += [
        f"  neighbour {one.address}: {format_bytes(one.bytes)} at {format_bytes(one.rate_bps)}/s"
        + (f", {format_bytes(one.wasted_bytes)} of no use" if one.wasted_bytes else "")
        + (f"; not asked any more: {one.dropped}" if one.dropped else "")
        for one in report.neighbours
    ]
    if report.outcome is Outcome.ACTIVATED:
        lines.append(f"slot {report.slot} boots next; reboot when it suits")
    return lines


def _image_lines(image: ImageReport) -> list[str]:
    sources = ", ".join(
        f"{format_bytes(share.bytes)} {source.name.lower()}"
        for source, share in image.sources.items()
        if share.bytes
    )
    seconds = ", ".join(f"{phase.value} {format_time(s)}" for phase, s in image.seconds.items())
    return [
        f"  {image.slot_class} on {image.device}: {format_bytes(image.image_bytes)} verified",
        f"    sources: {sources}",
        f"    fetched {format_bytes(image.bytes_fetched)}, {_neighbours(image)}"
        f"written {format_bytes(image.bytes_written)}, "
        f"not written {format_bytes(image.bytes_skipped)}",
        f"    time: {seconds}",
    ]


def _neighbours(image: ImageReport) -> str:
    given = image.bytes_from_neighbours
    return f"from neighbours {format_bytes(given)}, " if given else ""


def _named(version: str, sequence: int | None) -> str:
    return version if sequence is None else f"{version} (sequence {sequence})"

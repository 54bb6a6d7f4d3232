# SPDX-License-Identifier: Apache-2.0
"""A plan as a person reads it, and as a record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from images.events import Phase
from images.planning import Share
from images.sources import Source
from updater.units import count_of, format_bytes, format_percent, format_time

if TYPE_CHECKING:
    from images.assembly import Report
    from images.planning import Plan
    from images.stores.chain import StoreCounts

_NAMES = {
    Source.TARGET: "in place already",
    Source.ZERO: "zeros",
    Source.COPY: "copies within the image",
    Source.MOVE: "moved within the target",
    Source.SEED: "seeds",
    Source.CACHE: "cache",
    Source.PEER: "neighbours",
    Source.STORE: "stores",
}

_DOING = {Phase.ASSEMBLE: "decoding", Phase.FLUSH: "flushing", Phase.VERIFY: "verifying"}


@dataclass(frozen=True, slots=True)
class PlanResult:
    """What is to be done, or was.

    Attributes:
        image_bytes, chunks: of the whole image.
        sources: chunks and bytes by source; they add up to the whole image.
        bytes_to_write: of chunks that are not in place.
        requests: chunks to ask remote stores for.
        download_bytes: compressed, None if the stores were not asked.
        largest_download_bytes: uncompressed bytes of what comes from stores.
    """

    target: str | None
    image_bytes: int
    chunks: int
    sources: Mapping[Source, Share]
    bytes_to_write: int
    requests: int
    download_bytes: int | None
    largest_download_bytes: int


@dataclass(frozen=True, slots=True)
class ExtractResult:
    """What was done.

    Attributes:
        sources: what was really used; a source may have failed since the plan.
        transferred_bytes: what stores and cache sent, compressed.
        seconds: wall time by phase.
    """

    target: str
    image_bytes: int
    chunks: int
    sources: Mapping[Source, Share]
    bytes_written: int
    bytes_cloned: int
    transferred_bytes: int
    seconds: Mapping[Phase, float]


def plan_result(plan: Plan, target: str | None) -> PlanResult:
    """Return the record of a plan."""
    return PlanResult(
        target,
        plan.index.blob_length,
        len(plan.index),
        plan.shares,
        plan.bytes_to_write,
        plan.requests,
        plan.download_length,
        _share(plan.shares, Source.STORE).bytes,
    )


def extract_result(plan: Plan, report: Report, target: str) -> ExtractResult:
    """Return the record of a run."""
    return ExtractResult(
        target,
        plan.index.blob_length,
        len(plan.index),
        report.shares,
        report.bytes_written,
        report.bytes_cloned,
        report.transferred,
        report.seconds,
    )


def plan_lines(plan: PlanResult) -> list[str]:
    """Return the table of a dry run: every source, then what it costs."""
    rows: list[tuple[str, ...]] = [("source", "chunks", "bytes", "size", "share")]
    for source, name in _NAMES.items():
        share = _share(plan.sources, source)
        rows.append(_row(name, share, plan.image_bytes))
    rows.append(_row("image", Share(plan.chunks, plan.image_bytes), plan.image_bytes))
    lines = _aligned(rows)
    rule = "-" * max(map(len, lines))
    lines = [lines[0], rule, *lines[1:-1], rule, lines[-1], ""]
    requests = count_of(plan.requests, "request")
    lines.append(f"to write: {_exact(plan.bytes_to_write)}")
    if plan.download_bytes is not None:
        lines.append(f"to fetch: {_exact(plan.download_bytes)} compressed, {requests}")
    else:
        most = _exact(plan.largest_download_bytes)
        lines.append(f"to fetch: {requests}, {most} before compression")
        lines.append("          --ask-stores tells the compressed size")
    return lines


def statistics_lines(result: ExtractResult, stores_are_remote: bool, total_s: float) -> list[str]:
    """Return the lines of casync's `extract -v`, as far as they mean something here."""
    shares, chunks, length = result.sources, result.chunks, result.image_bytes
    empty = Share(0, 0)
    stores = _share(shares, Source.STORE)
    local = _sum(_share(shares, Source.CACHE), empty if stores_are_remote else stores)
    own = (Source.TARGET, Source.COPY, Source.MOVE, Source.SEED)
    seeds = _sum(*(_share(shares, source) for source in own))
    remote = stores if stores_are_remote else empty
    lines = [
        f"Zero bytes written as sparse files: {format_bytes(_share(shares, Source.ZERO).bytes)}",
        f"Bytes cloned through reflinks: {format_bytes(result.bytes_cloned)}",
    ]
    for share, name in ((local, "local store"), (seeds, "local seed"), (remote, "remote store")):
        lines += [
            f"Chunk requests fulfilled from {name}: "
            f"{share.chunks} ({format_percent(share.chunks, chunks)})",
            f"Bytes used from {name}: "
            f"{format_bytes(share.bytes)} ({format_percent(share.bytes, length)})",
        ]
    times = {"seeding": total_s - sum(result.seconds.values())}
    times |= {_DOING[phase]: seconds for phase, seconds in result.seconds.items()}
    for doing, seconds in times.items():
        percent = format_percent(int(seconds * 1e6), int(total_s * 1e6))
        lines.append(f"Time spent {doing}: {format_time(seconds)} ({percent})")
    lines.append(f"Total extract time: {format_time(total_s)}")
    return lines


def store_lines(counts: Sequence[StoreCounts]) -> list[str]:
    """Return a line for each store that was asked: what it delivered and what it did not."""
    lines = []
    for store in counts:
        failures = ", ".join(f"{number} {code}" for code, number in store.failures.items())
        lines.append(
            f"Store {store.name}: {count_of(store.chunks, 'chunk')}, "
            f"{format_bytes(store.transferred)} transferred, failures: {failures or 'none'}"
        )
    return lines


def summary_line(result: ExtractResult, total_s: float) -> str:
    """Return one line that says what happened."""
    in_place = format_bytes(_share(result.sources, Source.TARGET).bytes)
    fetched, written = format_bytes(result.transferred_bytes), format_bytes(result.bytes_written)
    return (
        f"{result.target}: {format_bytes(result.image_bytes)} verified; {in_place} were in place, "
        f"{fetched} fetched, {written} written, in {format_time(total_s)}"
    )


def _share(shares: Mapping[Source, Share], source: Source) -> Share:
    return shares.get(source, Share(0, 0))


def _sum(*shares: Share) -> Share:
    return Share(sum(share.chunks for share in shares), sum(share.bytes for share in shares))


def _exact(count: int) -> str:
    return f"{count:,} bytes ({format_bytes(count)})" if count >= 1024 else f"{count} bytes"


def _row(name: str, share: Share, total: int) -> tuple[str, ...]:
    if not share.chunks:
        return (name, "-", "-", "-", "-")
    size = format_bytes(share.bytes)
    return (name, f"{share.chunks:,}", f"{share.bytes:,}", size, format_percent(share.bytes, total))


def _aligned(rows: list[tuple[str, ...]]) -> list[str]:
    """Return the rows with the first column to the left and all others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if number == 0 else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]

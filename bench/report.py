# SPDX-License-Identifier: Apache-2.0
"""Numbers into text, JSON and a chart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.cases import CAFLIP, CASYNC
from bench.digest import DigestRow
from bench.measure import Sample, medians
from bench.scan import ScanResult

MIB = 1 << 20
PEAK_GOAL = 64 * MIB
SCAN_GOALS = {"portable": 1.5}
BEST_SCAN_GOAL = 3.5


@dataclass(frozen=True, slots=True)
class Result:
    """The samples of one case, by tool, in the order they were taken."""

    name: str
    title: str
    goal: float | None
    samples: Mapping[str, Sequence[Sample]]

    def medians(self) -> dict[str, Sample]:
        """The medians by tool."""
        return {tool: medians(samples) for tool, samples in self.samples.items() if samples}

    def ratio(self, tool: str, base: str = CASYNC) -> float | None:
        """How many times as fast as `base` a tool is, by the medians of the wall time."""
        found = self.medians()
        if tool not in found or base not in found:
            return None
        return found[base].wall_s / found[tool].wall_s


def table(
    results: Sequence[Result], scan: ScanResult | None = None, digest: Sequence[DigestRow] = ()
) -> str:
    """A table for people: a line for each tool of each case, medians."""
    lines = _scan_lines(scan) if scan else []
    lines += _digest_lines(digest) if digest else []
    if not results:
        return "\n".join(lines)
    head = f"{'case':<22}{'tool':<14}{'wall s':>9}{'CPU s':>8}{'peak MiB':>10}"
    lines.append(f"{head}{'ratio':>8}{'goal':>8}")
    for result in results:
        lines.append(f"{result.name}: {result.title}")
        for tool, sample in result.medians().items():
            peak = sample.peak_bytes / MIB
            line = f"{'':<22}{tool:<14}{sample.wall_s:>9.2f}{sample.cpu_s:>8.2f}{peak:>10.1f}"
            if tool != CASYNC:
                goal = result.goal if tool == CAFLIP else None
                line += f"{_times(result.ratio(tool)):>8}{_times(goal):>8}"
            lines.append(line.rstrip())
    peaks = [
        sample.peak_bytes
        for result in results
        for tool, samples in result.samples.items()
        if tool.startswith(CAFLIP)
        for sample in samples
    ]
    if peaks:
        highest, goal_mib = max(peaks) / MIB, PEAK_GOAL // MIB
        lines.append(f"caflip's highest peak memory: {highest:.1f} MiB (goal: {goal_mib} MiB)")
    return "\n".join(lines)


def _scan_lines(scan: ScanResult) -> list[str]:
    lines = [f"{'cut-point scan, 1 core':<24}{'':<24}{'GB/s':>8}{'ratio':>16}{'goal':>8}"]
    fastest = max(row.bytes_per_second for row in scan.rows if row.content == "random")
    for row in scan.rows:
        goal = None
        if row.content == "random":
            goal = SCAN_GOALS.get(row.contender)
            goal = BEST_SCAN_GOAL if row.bytes_per_second == fastest else goal
        speed, ratios = (
            row.bytes_per_second / 1e9,
            f"{_times(row.times_reference):>16}{_times(goal):>8}",
        )
        lines.append(f"  {row.content:<22}{row.contender:<24}{speed:>8.2f}{ratios}".rstrip())
    return [*lines, ""]


def _digest_lines(digest: Sequence[DigestRow]) -> list[str]:
    lines = [f"{'SHA-512/256 of chunks':<24}{'':<24}{'GB/s':>8}{'ratio':>16}"]
    for row in digest:
        cores = f"{row.threads} core{'s' if row.threads > 1 else ''}"
        speed = f"{row.bytes_per_second / 1e9:>8.2f}"
        lines.append(f"  {cores:<22}{row.contender:<24}{speed}{_times(row.times_openssl):>16}")
    return [*lines, ""]


def as_json(
    results: Sequence[Result], scan: ScanResult | None = None, digest: Sequence[DigestRow] = ()
) -> dict[str, object]:
    """Every number, with the medians and ratios."""
    return {
        "peak_goal_bytes": PEAK_GOAL,
        "scan": asdict(scan) if scan else None,
        "digest": [asdict(row) for row in digest],
        "cases": [
            {
                "name": result.name,
                "title": result.title,
                "goal": result.goal,
                "tools": {
                    tool: {
                        "median": asdict(median),
                        "ratio_to_casync": result.ratio(tool),
                        "samples": [asdict(sample) for sample in result.samples[tool]],
                    }
                    for tool, median in result.medians().items()
                },
            }
            for result in results
        ],
    }


def draw(results: Sequence[Result], files: Sequence[Path]) -> None:
    """Draw one bar for each tool of each case: its ratio to casync, and the goals.

    Raises:
        ImportError: matplotlib is not installed.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    bars = [
        (f"{result.name}\n{tool}", result.ratio(tool), result.goal if tool == CAFLIP else None)
        for result in reversed(results)
        for tool in reversed(list(result.samples))
        if tool != CASYNC and result.ratio(tool) is not None
    ]
    figure, axes = pyplot.subplots(figsize=(9, 1.2 + 0.5 * len(bars)), layout="constrained")
    axes.barh(
        [label for label, _, _ in bars], [ratio or 0 for _, ratio, _ in bars], color="#3572a5"
    )
    for number, (_, ratio, goal) in enumerate(bars):
        axes.annotate(f" {_times(ratio)}", (ratio or 0, number), va="center")
        if goal is not None:
            axes.plot([goal, goal], [number - 0.4, number + 0.4], color="#c0392b", linewidth=2)
    axes.axvline(1, color="black", linewidth=0.8)
    axes.margins(x=0.12)
    axes.set_xlabel("times as fast as casync (wall time); red: the goal")
    for file in files:
        figure.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else None)
    pyplot.close(figure)


def _times(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.1f}x"

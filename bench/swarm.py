# SPDX-License-Identifier: Apache-2.0
"""`python -m bench.swarm`: what devices of one site cost their link, with neighbours and without.

Real agents in network namespaces on one bridge, an origin that sends 20 Mbit/s and counts, 100
Mbit/s between devices. Half of the new image is not on any device. All devices share this
machine's processors, which real ones would not.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.updater.peers.lan import lan
from tests.updater.peers.site import Fleet, finish, join, make_fleet, serving

ORIGIN_RATE, LAN_RATE = "20mbit", "100mbit"
STAGGER_S = 3.0
DOCS = Path(__file__).parent.parent / "docs"


@dataclass(frozen=True, slots=True)
class Result:
    """One way to update.

    Attributes:
        stagger_s: between the starts of two devices.
        origin_bytes: that left the origin, headers included.
        seconds: of the slowest device, as it reports them.
    """

    devices: int
    neighbours: bool
    stagger_s: float
    origin_bytes: int
    seconds: float


def measure(fleet: Fleet, devices: int, neighbours: bool, stagger_s: float = 0.0) -> Result:
    """Update some devices, and see that they hold the right image."""
    with lan() as network, tempfile.TemporaryDirectory() as folder:
        origin = network.join()
        origin.limit(ORIGIN_RATE)
        with serving(origin, fleet) as url:
            more = () if neighbours else ("discover = false",)
            members = [
                join(fleet, Path(folder) / f"d{n}", network.join(), url, *more)
                for n in range(devices)
            ]
            for member in members:
                member.host.limit(LAN_RATE)
            before = origin.sent_bytes()
            runs: list[subprocess.Popen[str]] = []
            for member in members:
                if runs and stagger_s:
                    threading.Event().wait(stagger_s)
                runs.append(member.start("update"))
            reports = finish(runs)
            if not all(member.holds(fleet.images[2]) for member in members):
                raise AssertionError("a device does not hold the image")
            sent = origin.sent_bytes() - before
        slowest = max(report["seconds"] for report in reports)
        return Result(devices, neighbours, stagger_s, sent, slowest)


def table(results: Sequence[Result]) -> str:
    """Return Markdown; ratios are to one device without neighbours."""
    one = next(r for r in results if r.devices == 1 and not r.neighbours)
    lines = [
        "| devices | neighbours | origin sent | to one device | slowest | to one device |",
        "|---|---|---|---|---|---|",
    ]
    for result in results:
        how = "yes" if result.neighbours else "no"
        devices = str(result.devices)
        if result.stagger_s:
            devices += f", one every {result.stagger_s:.0f} s"
        lines.append(
            f"| {devices} | {how} | {result.origin_bytes / 1e6:.1f} MB "
            f"| {result.origin_bytes / one.origin_bytes:.2f} "
            f"| {result.seconds:.1f} s | {result.seconds / one.seconds:.2f} |"
        )
    return "\n".join(lines)


def chart(results: Sequence[Result], path: Path) -> None:
    """Draw origin bytes and time against the number of devices."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.2))
    for neighbours, label in ((False, "each for itself"), (True, "with neighbours")):
        found = [r for r in results if r.neighbours == neighbours and not r.stagger_s]
        devices = [r.devices for r in found]
        axes[0].plot(devices, [r.origin_bytes / 1e6 for r in found], "o-", label=label)
        axes[1].plot(devices, [r.seconds for r in found], "o-", label=label)
    for axis, text in zip(axes, ("origin sent, MB", "slowest device, s"), strict=True):
        axis.set(xlabel="devices at once", ylabel=text, ylim=(0, None))
        axis.legend()
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


def main() -> int:
    """Measure, print the table, draw the chart."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        fleet = make_fleet(Path(folder) / "fleet")
        results = [
            measure(fleet, n, neighbours) for neighbours in (False, True) for n in (1, 2, 4, 8)
        ]
        results.append(measure(fleet, 8, True, STAGGER_S))
    print(table(results))
    chart(results, DOCS / "swarm.svg")
    print(f"{DOCS / 'swarm.svg'}; {time.monotonic() - started:.0f} s in all", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())

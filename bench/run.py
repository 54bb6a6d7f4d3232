# SPDX-License-Identifier: Apache-2.0
"""Measures the tools side by side: every round runs each of them once, on the same work.

    python -m bench                     all cases, three rounds
    python -m bench --quick             one round on small images: does the benchmark work?
    python -m bench --case http-seed --rounds 5
    python -m bench --large             peak memory of caflip on an image of 16 GiB

Before each run inputs stand in the page cache, outputs are made anew the same way for every tool,
and everything is synced. Nothing here fails because of a time: the goals are printed beside the
figures. Results, chart and images go to CAFLIP_BENCH_DIR, else `.bench`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from bench import digest, images, large, latency_server, machine, measure, report, scan, workload
from bench.cases import Case, available, cases

SCAN = "scan"
DIGEST = "digest"
QUICK = 16 << 20  # bytes of input for these two


def run_case(case: Case, tools: Sequence[str], rounds: int) -> report.Result:
    """Run each tool once in every round, one after the other; prove the first run of each.

    Raises:
        RunFailed: a tool failed, or what it left behind is wrong.
    """
    samples: dict[str, list[measure.Sample]] = {tool: [] for tool in tools if tool in case.commands}
    for number in range(rounds):
        for tool, taken in samples.items():
            case.prepare()
            measure.warm(case.inputs)
            taken.append(measure.measure(case.commands[tool]))
            if number == 0 and not case.proof():
                raise measure.RunFailed(f"{case.name}: {tool} left a wrong result")
    return report.Result(case.name, case.title, case.goal, samples)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table, write JSON and chart."""
    options = _parse(arguments)
    folder = images.bench_folder()
    folder.mkdir(parents=True, exist_ok=True)
    tools = [tool for tool in available() if not options.tools or tool in options.tools]
    about = machine.describe(folder, tools)
    print(f"load average at the start: {' '.join(f'{load:.2f}' for load in os.getloadavg())}")
    if not measure.take_priority():
        print("not root: other processes of this machine disturb the figures more")
    measure.use_bytecode()
    found = None
    if not options.case or SCAN in options.case:
        print("scan: cut points on one core", flush=True)
        length = QUICK if options.quick else scan.INPUT_LENGTH
        found = scan.measure(folder / "casync", length)
    digested: list[digest.DigestRow] = []
    if not options.case or DIGEST in options.case:
        print("digest: SHA-512/256 of chunks", flush=True)
        digested = digest.measure(QUICK if options.quick else digest.INPUT_LENGTH)
    only_kernels = options.case and {*options.case} <= {SCAN, DIGEST}
    results = [] if only_kernels else _measure(options, folder, tools)
    if options.large:
        results += large.measure_memory(folder, images.DEVICE)
    print(report.table(results, found, digested))
    file: Path = options.json or folder / "results.json"
    file.write_text(
        json.dumps({"machine": about, **report.as_json(results, found, digested)}, indent=1)
    )
    print(f"every number: {file}")
    if results:
        _draw(results, folder)
    return 0


def _measure(
    options: argparse.Namespace, folder: Path, tools: Sequence[str]
) -> list[report.Result]:
    work = workload.prepare(images.SMALL if options.quick else images.DEVICE, folder)
    try:
        chosen = [case for case in cases(work) if not options.case or case.name in options.case]
        results = []
        for case in chosen:
            print(f"{case.name}: {case.title}", flush=True)
            rounds = options.rounds or (1 if options.quick else 3)
            results.append(run_case(case, tools, rounds))
        return results
    finally:
        latency_server.stop(work.server)
        shutil.rmtree(work.folder)


def _draw(results: Sequence[report.Result], folder: Path) -> None:
    charts = [folder / "results.svg", folder / "results.png"]
    try:
        report.draw(results, charts)
    except ImportError:
        print("no chart: matplotlib is not installed")
    else:
        print(f"chart: {' '.join(map(str, charts))}")


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--quick", action="store_true", help="one round on small images")
    parser.add_argument("--rounds", type=int, help="runs of each tool for each case (3)")
    parser.add_argument("--case", action="append", help="only this one; may be repeated")
    parser.add_argument("--tools", type=lambda text: text.split(","), help="casync,caflip,...")
    parser.add_argument("--json", type=Path, help="where to write the numbers")
    parser.add_argument("--large", action="store_true", help="also a 16 GiB image; 45 GB of disk")
    return parser.parse_args(arguments)

# SPDX-License-Identifier: Apache-2.0
"""On what the numbers were measured."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from bench.cases import caflip


def describe(folder: Path, tools: Iterable[str]) -> dict[str, object]:
    """Date, machine, load and versions, for the report."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "cpu": _field("/proc/cpuinfo", "model name"),
        "cpus": len(os.sched_getaffinity(0)),
        "memory_bytes": int(_field("/proc/meminfo", "MemTotal").split()[0] or 0) * 1024,
        "kernel": platform.release(),
        "file_system": _output(["stat", "--file-system", "--format=%T", str(folder)]),
        "load_average": list(os.getloadavg()),
        "python": platform.python_version(),
        "versions": {tool: _version(tool) for tool in tools},
    }


def _version(tool: str) -> str:
    if tool.startswith("caflip"):
        return _output(caflip("--version"))
    if tool.startswith("casync") and shutil.which("dpkg-query"):
        # casync says "casync 2" for ten years of sources.
        return "casync " + _output(["dpkg-query", "--show", "--showformat=${Version}", "casync"])
    return _output([tool, "--version"])


def _output(command: list[str]) -> str:
    finished = subprocess.run(command, capture_output=True, text=True)
    return finished.stdout.strip().partition("\n")[0] or "unknown"


def _field(file: str, name: str) -> str:
    for line in Path(file).read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return "0"

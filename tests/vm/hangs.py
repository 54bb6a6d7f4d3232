# SPDX-License-Identifier: Apache-2.0
"""Machines that started without a word and were started again: kept, and told at the end."""

from __future__ import annotations

import time
from pathlib import Path

from tests.vm.cache import FOLDER

_FILE = FOLDER / "hangs.log"


def report_hang(log: Path) -> None:
    """Note that a machine with this log was silent."""
    with _FILE.open("a") as file:
        file.write(f"{time.time():.0f} {log}\n")


def hangs_since(begin: float) -> list[str]:
    """List the logs of machines that were silent since a time of the clock."""
    if not _FILE.exists():
        return []
    lines = (line.split(" ", 1) for line in _FILE.read_text().splitlines())
    return [log for when, log in lines if float(when) >= begin - 1]

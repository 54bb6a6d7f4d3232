# SPDX-License-Identifier: Apache-2.0
"""All prefixes and very many states of an update with every bootloader; `make crash` runs it.

    python -m tests.crash [--states N] [--every N] [--page PATH]

Exit status 1 if one state did not hold. Devices are made in memory where /dev/shm is.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import time
from pathlib import Path

from tests.crash.campaign import Result, run
from tests.crash.page import page
from tests.crash.rig import Channel, make_channel
from tests.updater.running import ROOT

STATES = 110_000
EVERY = 25
SHOWN = 20
MEMORY = Path("/dev/shm")
PAGE = ROOT / "docs/crash-matrix.md"


def main() -> int:
    """Try them, write the page, and tell what did not hold."""
    parser = argparse.ArgumentParser(prog="python -m tests.crash")
    parser.add_argument("--states", type=int, default=STATES, help="how many are tried")
    parser.add_argument(
        "--every", type=int, default=EVERY, help="from one in so many the device goes on"
    )
    parser.add_argument("--page", type=Path, default=PAGE, help="where the table goes")
    arguments = parser.parse_args()
    started = time.monotonic()
    place = MEMORY if MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="caflip-crash-", dir=place) as folder:
        channel = make_channel(Path(folder) / "site")
        try:
            result = run(Path(folder), channel, arguments.states, arguments.every)
        finally:
            _end_gpg_agent(channel)
    command = f"python -m tests.crash --states {arguments.states} --every {arguments.every}"
    arguments.page.write_text(page(result, command))
    _tell(result, time.monotonic() - started)
    return 1 if result.failures else 0


def _tell(result: Result, seconds: float) -> None:
    tried = sum(tally.tried for tally in result.rows.values())
    print(f"{tried} states, {len(result.failures)} did not hold, {seconds:.0f} s")
    for failure in result.failures[:SHOWN]:
        print(f"  {failure}")


def _end_gpg_agent(channel: Channel) -> None:
    command = ["gpgconf", "--homedir", str(channel.site.home), "--kill", "gpg-agent"]
    subprocess.run(command, check=True, timeout=30)


if __name__ == "__main__":
    raise SystemExit(main())

# SPDX-License-Identifier: Apache-2.0
"""Run the file systems' own programs, which make the images and say what is true of them."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.capabilities import require_tool

PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


def run(*argv: str | Path, stdin: str = "", env: Mapping[str, str] | None = None) -> str:
    """Run a program that has to succeed and return what it printed; skip where it is missing."""
    require_tool(str(argv[0]))
    done = subprocess.run(
        [str(part) for part in argv],
        input=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=60,
        check=False,
        env={**os.environ, "PATH": PATH, "LC_ALL": "C", **(env or {})},
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def numbers(text: str, *labels: str) -> list[int]:
    """Return the number that follows each label at the start of a line, in any base."""
    found = []
    for label in labels:
        match = re.search(rf"^\s*{re.escape(label)}\W*(0x[0-9a-f]+|\d+)", text, re.MULTILINE)
        assert match is not None, f"{label} not in:\n{text}"
        found.append(int(match[1], 0))
    return found


def blkid(path: Path) -> dict[str, str]:
    """Return what `blkid -p` says of an image."""
    text = run("blkid", "-p", "-o", "export", path)
    known = dict(line.split("=", 1) for line in text.splitlines())
    if "LABEL" in known:  # the export form escapes what is not ASCII
        known["LABEL"] = run("blkid", "-p", "-o", "value", "-s", "LABEL", path).rstrip("\n")
    return known


def blank(path: Path, length: int) -> Path:
    """Make a sparse file."""
    with path.open("xb") as file:
        file.truncate(length)
    return path


@contextmanager
def loop_device(image: Path, sector_size: int) -> Iterator[Path]:
    """Attach an image to a loop device for the duration of a test."""
    argv: Sequence[str | Path] = ("losetup", "-f", "--show", "-b", str(sector_size), image)
    device = Path(run(*argv).splitlines()[-1])  # warnings come first
    try:
        yield device
    finally:
        run("losetup", "-d", device)

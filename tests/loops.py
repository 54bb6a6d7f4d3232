# SPDX-License-Identifier: Apache-2.0
"""Loop devices and mounts for tests that run as root; everything is undone at the end."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def run(*command: str | Path) -> str:
    """Run a program and return its standard output; fail with its standard error."""
    result = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, f"{command}: {result.stderr}"
    return result.stdout


@contextmanager
def loop_device(image: Path, sector_size: int = 512) -> Iterator[Path]:
    """Attach a file to a free loop device."""
    device = run("losetup", "--find", "--show", f"--sector-size={sector_size}", image).strip()
    try:
        yield Path(device)
    finally:
        run("losetup", "--detach", device)


@contextmanager
def mounted(image: Path, folder: Path, *options: str) -> Iterator[Path]:
    """Mount the file system in an image file or device."""
    folder.mkdir(exist_ok=True)
    run("mount", *(["-o", ",".join(options)] if options else []), image, folder)
    try:
        yield folder
    finally:
        run("umount", folder)

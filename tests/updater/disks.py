# SPDX-License-Identifier: Apache-2.0
"""Disk images with partition tables, made by sfdisk."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.loops import run

MIB = 1 << 20

# Other tests of this run have disks at the same time: nothing of theirs is called the same.
LABEL_A, LABEL_B = f"root a {os.getpid()}", f"root-b-{os.getpid()}"
UUID_A = f"aaaaaaaa-2222-4333-8444-{os.getpid():012x}"
UUID_B = f"bbbbbbbb-2222-4333-8444-{os.getpid():012x}"
SIGNATURE = f"{0x10000000 + os.getpid():08x}"

GPT = f"""\
label: gpt
start=1MiB, size=4MiB, name="first"
start=5MiB, size=8MiB, name="{LABEL_A}", uuid={UUID_A}
start=13MiB, size=8MiB, name="{LABEL_B}", uuid={UUID_B}
"""
MBR = f"""\
label: dos
label-id: 0x{SIGNATURE}
start=1MiB, size=4MiB, type=83
start=5MiB, size=20MiB, type=5
start=6MiB, size=4MiB, type=83
start=12MiB, size=4MiB, type=83
"""


def make_disk(path: Path, script: str, length: int = 32 * MIB) -> Path:
    path.write_bytes(b"")
    os.truncate(path, length)
    subprocess.run(["sfdisk", "--quiet", path], input=script, text=True, check=True)
    return path


@contextmanager
def partitioned(image: Path) -> Iterator[Path]:
    """Attach an image, and tell the kernel of its partitions, as udev's partx would."""
    device = run("losetup", "--find", "--show", image).strip()
    try:
        # A kernel that reads tables itself does so only if it is asked to; partx always can.
        run("partx", "--add", device)
        yield Path(device)
    finally:
        run("partx", "--delete", device)
        run("losetup", "--detach", device)

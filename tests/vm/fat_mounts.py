# SPDX-License-Identifier: Apache-2.0
"""What Linux finds on many FAT file systems, and what becomes of them there. Runs in a guest.

    python3 -m tests.vm.fat_mounts DEVICE JOBS

DEVICE holds the file systems one after the other. JOBS holds a line of JSON for all of them, and
zeros.
"""

from __future__ import annotations

import base64
import ctypes
import fcntl
import hashlib
import json
import os
import struct
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.vm.fat_steps import FILE_SYSTEM, SLOTS, TRIES, Subject, opened, told

_LOOP, _LOOP_CONFIGURE, _LOOP_CLR_FD = "/dev/loop0", 0x4C0A, 0x4C01
# linux/loop.h, struct loop_config: offset and limit among zeros
_LOOP_CONFIG = struct.Struct("<II24xQQ192x64x")
_ROOT, _VARIABLES = Path("/tmp/mounted"), Path("/tmp/variables-now")
_libc = ctypes.CDLL(None, use_errno=True)


@contextmanager
def mounted(device: int, offset: int) -> Iterator[Path]:
    """Mount a file system for reading and writing, with the options that Debian gives: none."""
    loop = os.open(_LOOP, os.O_RDWR)
    fcntl.ioctl(loop, _LOOP_CONFIGURE, _LOOP_CONFIG.pack(device, 0, offset, FILE_SYSTEM))
    try:
        _checked(_libc.mount(_LOOP.encode(), bytes(_ROOT), b"vfat", 0, None))
        try:
            yield _ROOT
        finally:
            _checked(_libc.umount2(bytes(_ROOT), 0))
    finally:
        fcntl.ioctl(loop, _LOOP_CLR_FD)
        os.close(loop)


def _checked(status: int) -> None:
    if status:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


class Contents:
    """Contents of files by digest; each is told once.

    Attributes:
        new: those that were not told yet.
    """

    def __init__(self) -> None:
        self._known: set[str] = set()
        self.new: dict[str, str] = {}

    def digest(self, path: Path) -> str:
        """Return the digest of a file, or in words why it cannot be read."""
        try:
            data = path.read_bytes()
        except OSError as error:
            return f"{error.strerror}"
        digest = hashlib.sha256(data).hexdigest()
        if digest not in self._known:
            self._known.add(digest)
            self.new[digest] = base64.b64encode(data).decode()
        return digest

    def below(self, root: Path) -> dict[str, str]:
        """Return the digest of each file below a folder."""
        return {
            os.path.relpath(Path(folder, name), root): self.digest(Path(folder, name))
            for folder, _, names in os.walk(root)
            for name in names
        }


def go_on(root: Path, variables: Mapping[str, Mapping[str, str]]) -> dict[str, object]:
    """Let each environment's slot that boots prove itself, and then the other one be updated."""
    after: dict[str, object] = {}
    for subject in Subject:
        folder = _VARIABLES / subject.name
        folder.mkdir(parents=True, exist_ok=True)
        for path in folder.iterdir():
            path.unlink()
        for name, data in variables[subject.name].items():
            (folder / name).write_bytes(bytes.fromhex(data))
        backend = opened(subject, root, folder)
        runs = backend.read().next
        assert runs is not None, "nothing boots"
        (other,) = (slot for slot in SLOTS if slot != runs)
        backend.mark_good(runs)
        backend.mark_bad(other)
        backend.set_primary(other, TRIES)
        backend.mark_good(other)
        state = told(subject, root, folder)
        after[subject.name] = [state.slots, backend.read().next]
    return after


def main(device_path: str, jobs_path: str) -> None:
    """Print a line for each file system, with what it holds before and after it was used."""
    subprocess.run(["modprobe", "loop"], check=True)
    _ROOT.mkdir()
    jobs = json.loads(Path(jobs_path).read_bytes().rstrip(b"\0"))
    device = os.open(device_path, os.O_RDWR)
    contents = Contents()
    for number, job in enumerate(jobs):
        offset = number * FILE_SYSTEM
        line: dict[str, object] = {}
        try:
            with mounted(device, offset) as root:
                line["found"] = contents.below(root)
                if job is not None:
                    line["told"] = go_on(root, job)
            if job is not None:
                with mounted(device, offset) as root:
                    line["left"] = contents.below(root)
        except Exception as error:
            line["failed"] = repr(error)
        line["contents"], contents.new = contents.new, {}
        print(json.dumps(line))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])

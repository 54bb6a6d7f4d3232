# SPDX-License-Identifier: Apache-2.0
"""What can be cut into chunks: a file, a block device, a region of either, or a pipe."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fsprobe import probe
from fsprobe.device import Device
from images.durable import os_errors
from images.errors import NotAccessible
from images.runs import FileRegion, Stream


@dataclass(frozen=True, slots=True)
class Input:
    """An open input.

    Attributes:
        source: to be read once, from its first byte on.
        length: in bytes, None for a pipe.
        mode: permission bits; an index of the input gets the same.
    """

    source: FileRegion | Stream
    length: int | None
    mode: int


@contextmanager
def open_input(path: Path | None, offset: int = 0, length: int | None = None) -> Iterator[Input]:
    """Open an input; the descriptor is closed at the end of the block.

    A block device ends where its file system ends, as far as `fsprobe` knows it, unless a region
    is asked for. A file is taken whole.

    Args:
        path: None for standard input.
        offset: where to begin, in bytes.
        length: bytes to take, None for all.

    Raises:
        NotAccessible: it cannot be opened, is a folder, or ends before the region does.
        ProbeError: the superblock of a device cannot be believed.
    """
    name = "standard input" if path is None else str(path)
    with os_errors(name):
        fd = os.dup(0) if path is None else os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        mode = os.fstat(fd).st_mode
        if stat.S_ISREG(mode) or stat.S_ISBLK(mode):
            with os_errors(name):
                there = Device(fd).length
                if stat.S_ISBLK(mode) and offset == 0 and length is None:
                    found = probe(fd)
                    length = found.length if found is not None else None
            if length is None:
                length = max(0, there - offset)
            if offset + length > there:
                raise NotAccessible(f"{name} ends at {there}, before {offset} + {length}")
            yield Input(FileRegion(fd, offset, length), length, stat.S_IMODE(mode))
        elif stat.S_ISDIR(mode):
            raise NotAccessible(
                f"{name} is a folder", hint="caflip handles images; make one of the folder first"
            )
        elif offset or length is not None:
            raise NotAccessible(f"{name} is a pipe: it has no region")
        else:
            yield Input(Stream(fd), None, 0o644)
    finally:
        os.close(fd)

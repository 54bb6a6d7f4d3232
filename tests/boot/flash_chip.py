# SPDX-License-Identifier: Apache-2.0
"""A flash chip in a file, behind the system calls of `boot.flash`. Not a kernel's MTD.

It does what NOR and NAND do: an erase sets all bits of an eraseblock, a write can only clear bits,
and the power can go in the middle of either.
"""

from __future__ import annotations

import errno
import os
import struct
from pathlib import Path

from boot import flash

ERASE_SIZE = 4096


class PowerCut(BaseException):
    """The machine is off: nothing of ours may catch this."""


class Chip(flash.Calls):
    def __init__(self, path: Path, blocks: int, kind: int = flash.NOR_FLASH) -> None:
        self.path, self.blocks, self.kind = path, blocks, kind
        self.bad: set[int] = set()
        self.cut_after: int | None = None
        self.done: list[str] = []
        path.write_bytes(b"\xff" * blocks * ERASE_SIZE)

    def ioctl(self, fd: int, request: int, argument: bytearray) -> int:
        if request == flash.MEMGETINFO:
            struct.pack_into(
                "B7xIIII", argument, 0, self.kind, self.blocks * ERASE_SIZE, ERASE_SIZE, 1, 0
            )
            return 0
        if request == flash.MEMGETBADBLOCK:
            return int(struct.unpack("=q", argument)[0] // ERASE_SIZE in self.bad)
        if request != flash.MEMERASE:
            raise OSError(errno.EOPNOTSUPP, "no protection on this chip")
        start, length = struct.unpack("=II", argument)
        assert start % ERASE_SIZE == 0 and length % ERASE_SIZE == 0
        assert start // ERASE_SIZE not in self.bad
        half = self._step(f"erase {start:#x}")
        os.pwrite(fd, b"\xff" * (length // 2 if half else length), start)
        self._off_if(half)
        return 0

    def pwrite(self, fd: int, data: bytes, offset: int) -> int:
        half = self._step(f"write {offset:#x}")
        part = data[: len(data) // 2] if half else data
        old = os.pread(fd, len(part), offset)
        os.pwrite(fd, bytes(a & b for a, b in zip(part, old, strict=True)), offset)
        self._off_if(half)
        return len(data)

    def _step(self, what: str) -> bool:
        self.done.append(what)
        return self.cut_after is not None and len(self.done) > self.cut_after

    def _off_if(self, half: bool) -> None:
        if half:
            raise PowerCut

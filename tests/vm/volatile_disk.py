# SPDX-License-Identifier: Apache-2.0
"""A disk with a volatile write cache, for guests: a cut loses, tears and reorders what it held.

The file holds what the guest reads. Beside it there is a list of what was there before each write
that was not flushed. A cut takes all of these writes back, and then makes some of their pieces
again. Each sector ends as it was after the last flush, or after any write since: that is all that
can be seen of an order, as a cache never writes older data over newer.
"""

from __future__ import annotations

import enum
import os
import random
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.vm.nbd import serve

SECTOR = 512
BLOCK = 4096
IDLE_S = 30.0
KEPT = (0.0, 0.1, 0.5, 0.9, 1.0)
"""How likely a piece that was not flushed is on the medium, to choose from."""


class Tear(enum.Enum):
    """Into what a write falls apart when the power goes; the value is bytes."""

    SECTORS = SECTOR
    BLOCKS = BLOCK
    WHOLE = 1 << 32
    """Longer than any request: a write is there or not."""


@dataclass(frozen=True, slots=True)
class _Write:
    offset: int
    before: bytes
    data: bytes
    durable: bool

    def pieces(self, length: int) -> Iterator[tuple[int, bytes]]:
        """Yield the parts of it between borders of `length` on the disk."""
        start = 0
        while start < len(self.data):
            stop = min(len(self.data), start + length - (self.offset + start) % length)
            yield self.offset + start, self.data[start:stop]
            start = stop

    def blocks(self) -> Iterator[tuple[int, bytes, bytes]]:
        """Yield where each whole block is, what it held, and what it holds."""
        for at, new in self.pieces(BLOCK):
            if len(new) == BLOCK:
                start = at - self.offset
                yield at, self.before[start : start + BLOCK], new


@dataclass(frozen=True, slots=True)
class Loss:
    """What a cut did.

    Attributes:
        unflushed: bytes that were written and neither flushed nor written through.
        lost: bytes of them that are gone.
    """

    unflushed: int
    lost: int


class VolatileDisk:
    """A disk image behind a write cache. All methods may be called by any thread.

    Attributes:
        length: bytes.
        writes: requests so far that wrote.
        flushes: requests so far that flushed.
        rewritten: where blocks begin that were written, and held the same before.
    """

    def __init__(self, path: Path, through: Callable[[bytes], bool] = lambda _: False) -> None:
        """Open a disk.

        Args:
            path: of the image.
            through: tells by its data which request goes through the cache though it does not
                say so; for machines that lose the request for it on the way.
        """
        self._through = through
        self._fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        self._lock = threading.Condition()
        self._unflushed: list[_Write] = []
        self._length = os.fstat(self._fd).st_size
        self.writes = 0
        self.flushes = 0
        self.rewritten: list[int] = []

    @property
    def length(self) -> int:
        return self._length

    def close(self) -> None:
        """Close the file; all that was written stays in it."""
        os.close(self._fd)

    def read(self, offset: int, length: int) -> bytes:
        """Return what was written last."""
        with self._lock:
            return os.pread(self._fd, length, offset)

    def write(self, offset: int, data: bytes, *, durable: bool) -> None:
        """Write to the cache, or through it."""
        assert offset % SECTOR == len(data) % SECTOR == 0
        with self._lock:
            self.writes += 1
            before = os.pread(self._fd, len(data), offset)
            write = _Write(offset, before, data, durable or self._through(data))
            self.rewritten += (at for at, old, new in write.blocks() if old == new)
            self._unflushed.append(write)
            os.pwrite(self._fd, data, offset)
            self._lock.notify_all()

    def wait_writes(self, count: int, timeout_s: float) -> None:
        """Wait until so many requests have written, or so much time has passed."""
        with self._lock:
            self._lock.wait_for(lambda: self.writes >= count, timeout_s)

    def flush(self) -> None:
        """Bring the cache to the medium."""
        with self._lock:
            self.flushes += 1
            self._unflushed.clear()

    def cut(self, tear: Tear, kept: float, chance: random.Random) -> Loss:
        """Take the power away: leave a state that the medium may have then.

        Args:
            tear: into what unflushed writes fall apart.
            kept: how likely a piece is on the medium.
            chance: decides which.
        """
        unflushed = lost = 0
        with self._lock:
            for write in reversed(self._unflushed):
                os.pwrite(self._fd, write.before, write.offset)
            for write in self._unflushed:
                for offset, piece in write.pieces(tear.value):
                    keep = write.durable or chance.random() < kept
                    unflushed += 0 if write.durable else len(piece)
                    lost += 0 if keep else len(piece)
                    if keep:
                        os.pwrite(self._fd, piece, offset)
            self._unflushed.clear()
        return Loss(unflushed, lost)


class DiskServer:
    """Serves a disk to one machine after the other; `served_disk` makes one.

    Attributes:
        url: for QEMU.
    """

    def __init__(self, disk: VolatileDisk, listener: socket.socket, url: str) -> None:
        self.url = url
        self._disk = disk
        self._listener = listener
        self._changed = threading.Condition()
        self._clients = 0
        self._faults: list[Exception] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:  # closed
                return
            with client:
                self._count(1)
                try:
                    serve(client, self._disk)
                except Exception as fault:
                    self._faults.append(fault)
                finally:
                    self._count(-1)

    def _count(self, more: int) -> None:
        with self._changed:
            self._clients += more
            self._changed.notify_all()

    def wait_idle(self) -> None:
        """Wait until what a machine that has ended sent before is carried out.

        Raises:
            TimeoutError: the machine has not ended.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._clients == 0, IDLE_S):
                raise TimeoutError(f"the disk is in use after {IDLE_S} s")
        if self._faults:
            raise self._faults[0]

    def close(self) -> None:
        """End."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(IDLE_S)


@contextmanager
def served_disk(disk: VolatileDisk) -> Iterator[DiskServer]:
    """Serve a disk on a socket in a short temporary path: those of sockets end at 108 bytes."""
    with (
        TemporaryDirectory(prefix="disk-") as folder,
        socket.socket(socket.AF_UNIX) as listener,
    ):
        path = f"{folder}/socket"
        listener.bind(path)
        listener.listen()
        server = DiskServer(disk, listener, f"nbd+unix:///?socket={path}")
        try:
            yield server
        finally:
            server.close()

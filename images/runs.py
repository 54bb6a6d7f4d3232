# SPDX-License-Identifier: Apache-2.0
"""Reads a file or a pipe once and hands it out as runs of whole chunks.

Blocks are read and scanned by several threads into a few buffers that are used again and again.
The bytes of a chunk that is unfinished at a block's end are put in front of the next block, so
that a consumer always finds a chunk in one piece:

    buffer of block n     |      room       | block                 |
                          | rest of n-1 ->  |chunk|chunk|chunk|chun |  k: goes in front of n+1

The kernel's own window, the 48 bytes before the block, is read into the end of the same room.
The cuts depend neither on the number of threads nor on the length of a block.
"""

from __future__ import annotations

import errno
import os
import select
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Protocol, TypeAlias

from images.cuts import CutRule, scan_block
from images.kernels import choose_kernel
from images.parallel import pages
from images.reading import LostBlocks, read_into
from images.sizes import WINDOW, ChunkSizes

BLOCK_LENGTH = 4 << 20
"""Bytes that a thread reads and scans at a time, at most: their chunks fill the lanes of a digest,
and handing them over costs little."""

BUFFERS_LENGTH = 12 << 20
"""Bytes of all buffers where chunks are not longer than usual: more threads get smaller ones."""

CANCEL_MS = 100
"""How often a thread that waits for a pipe looks whether it is still wanted."""


class Source(Protocol):
    """Where the bytes come from. Offsets count from the source's first byte."""

    def fill(self, offset: int, view: memoryview) -> int:
        """Read the bytes from `offset - 48` on; several threads may call at the same time.

        The 48 bytes are left alone where the source has none. Offsets come in steps of
        `len(view) - 48`, in the order of the calls.

        Returns:
            How many bytes from `offset` on there are; less than asked for only at the end.

        Raises:
            OSError: as the kernel says, EIO when the source is shorter than it promised.
        """

    def is_hole(self, offset: int, length: int) -> bool:
        """Tell whether these bytes are known to be zeros without reading them."""

    def cancel(self) -> None:
        """Let a waiting `fill` raise soon: nobody wants the rest."""


@dataclass(frozen=True, slots=True)
class FileRegion:
    """`length` bytes from `start` on of a file or block device.

    `fd` stays the caller's; its file position is changed. `lost` takes blocks that cannot be
    read, and lets the rest be read; without it, `fill` raises.
    """

    fd: int
    start: int
    length: int
    lost: LostBlocks | None = None

    def fill(self, offset: int, view: memoryview) -> int:
        """See `Source`."""
        wanted = max(0, min(self.length - offset, len(view) - WINDOW))
        lead = min(offset, WINDOW)
        rest = view[WINDOW - lead : WINDOW + wanted] if wanted else view[:0]
        position = self.start + offset - lead
        count = read_into(self.fd, position, rest, len(rest), self.lost)
        if count < len(rest):
            raise OSError(errno.EIO, f"the file ends at {position + count}, while it is being read")
        return wanted

    def is_hole(self, offset: int, length: int) -> bool:
        """See `Source`."""
        if offset + length > self.length:
            return False
        start = self.start + offset
        try:
            return os.lseek(self.fd, start, os.SEEK_DATA) >= start + length
        except OSError as error:
            # ENXIO: a hole up to the end of the file, which may have moved. EINVAL: block device.
            if error.errno != errno.ENXIO:
                return False
        return os.fstat(self.fd).st_size >= start + length

    def cancel(self) -> None:
        """See `Source`; a file does not let its reader wait."""


class Stream:
    """Everything up to the end of a pipe, socket or terminal; `fd` stays the caller's."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._turn = threading.Condition()
        self._offset = 0
        self._window = bytes(WINDOW)
        self._ended = False
        self._cancelled = False

    def fill(self, offset: int, view: memoryview) -> int:
        """See `Source`: blocks are read in order, each thread waits for its turn."""
        with self._turn:
            self._turn.wait_for(lambda: self._offset == offset or self._ended)
            if self._ended:
                return 0
            view[:WINDOW] = self._window
            try:
                position = self._read(view)
            except OSError:
                self._ended = True
                raise
            finally:
                self._turn.notify_all()
            self._window = bytes(view[position - WINDOW : position])
            self._offset += position - WINDOW
            self._ended = position < len(view)
            self._turn.notify_all()
            return position - WINDOW

    def _read(self, view: memoryview) -> int:
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        position = WINDOW
        while position < len(view):
            while not poll.poll(CANCEL_MS):
                if self._cancelled:
                    raise OSError(errno.ECANCELED, os.strerror(errno.ECANCELED))
            count = os.readv(self._fd, [view[position:]])
            if count == 0:
                break
            position += count
        return position

    def is_hole(self, offset: int, length: int) -> bool:
        """See `Source`."""
        return False

    def cancel(self) -> None:
        """See `Source`."""
        self._cancelled = True


class _Buffer:
    """Room for the rest of the block before, a block, and its marks.

    Attributes:
        memory: the room, then the block.
        scanned: the last 48 bytes of the room, and the block.
        bits: the marks.
        length: of what is in the block, bytes.
        zero: the block is all zeros, and `bits` are those of zeros after zeros.
    """

    __slots__ = ("bits", "length", "memory", "room", "scanned", "zero")

    def __init__(self, room: int, block_length: int) -> None:
        self.room = room
        self.memory = pages(room + block_length)
        self.scanned = self.memory[room - WINDOW :]
        self.bits = memoryview(bytearray((block_length + 63) // 64 * 8))
        self.length = 0
        self.zero = False


@dataclass(slots=True)
class Run:
    """Some whole chunks, one after the other.

    Attributes:
        offset: of the first chunk, from the source's first byte.
        data: the chunks' bytes; they are valid until `release`.
        ends: each chunk's end, from the source's first byte.
        zero: the bytes are known to be zeros, since they are a hole in the file.
    """

    offset: int
    data: memoryview
    ends: tuple[int, ...]
    zero: bool
    _buffer: _Buffer
    _pool: SimpleQueue[_Buffer]
    _released: bool = field(default=False, init=False)

    def chunks(self) -> Iterator[tuple[int, memoryview]]:
        """Yield each chunk's offset and bytes."""
        start = self.offset
        for end in self.ends:
            yield start, self.data[start - self.offset : end - self.offset]
            start = end

    def release(self) -> None:
        """Give the buffer back; any thread may do so, again does no harm."""
        if not self._released:
            self._released = True
            self.data.release()
            self._pool.put(self._buffer)

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.release()


Marks: TypeAlias = Callable[[int, int, memoryview], None]
"""Is told of each block's offset, length, and marks (see `cuts.scan_block`), by the thread that
scanned it; the marks are valid during the call."""


def runs(
    source: Source,
    sizes: ChunkSizes,
    *,
    threads: int,
    block_length: int | None = None,
    marks: Marks | None = None,
) -> Generator[Run, None, None]:
    """Cut a source into chunks, in order.

    `threads + 2` buffers of a block and a maximum chunk each are all the memory this takes. The
    generator waits while the consumer holds them all, so a consumer must release runs.

    Args:
        source: read once, from its first byte to its end.
        sizes: of the chunks.
        threads: that read and scan, 1 or more, beside the caller's.
        block_length: bytes that a thread takes at a time, at least 48.
        marks: is told of the candidate cuts of each block; of none in fixed-size mode.

    Raises:
        OSError: the source cannot be read, or has become shorter.
        SettingInvalid: see `choose_kernel`.
    """
    buffers = threads + 2
    if block_length is None:
        block_length = max(min(BLOCK_LENGTH, BUFFERS_LENGTH // buffers), sizes.maximum // 4)
    pool: SimpleQueue[_Buffer] = SimpleQueue()
    for _ in range(buffers):
        pool.put(_Buffer(max(sizes.maximum, WINDOW), block_length))
    load = _Loader(source, sizes, choose_kernel(), block_length, marks)
    executor = ThreadPoolExecutor(threads, thread_name_prefix="scan")
    try:
        yield from _assemble(_blocks(executor, load, pool, threads + 1), sizes, pool)
    finally:
        source.cancel()
        executor.shutdown(cancel_futures=True)


@dataclass(frozen=True, slots=True)
class _Loader:
    """Reads and scans one block; runs in a thread of the executor."""

    source: Source
    sizes: ChunkSizes
    kernel: str
    block_length: int
    marks: Marks | None

    def __call__(self, offset: int, buffer: _Buffer) -> _Buffer:
        self._fill(offset, buffer)
        if self.marks is not None and not self.sizes.fixed:
            self.marks(offset, buffer.length, buffer.bits)
        return buffer

    def _fill(self, offset: int, buffer: _Buffer) -> None:
        lead = min(offset, WINDOW)
        if self.source.is_hole(offset - lead, lead + self.block_length):
            buffer.length = self.block_length
            if buffer.zero:
                return
            buffer.scanned[:] = bytes(len(buffer.scanned))
            buffer.zero = True
        else:
            buffer.zero = False
            buffer.length = self.source.fill(offset, buffer.scanned)
        if not self.sizes.fixed:
            scanned = buffer.scanned[: WINDOW + buffer.length]
            scan_block(self.kernel, scanned, buffer.bits, self.sizes)


def _blocks(
    executor: ThreadPoolExecutor, load: _Loader, pool: SimpleQueue[_Buffer], ahead: int
) -> Iterator[tuple[_Buffer, bool]]:
    """Yield the loaded blocks in order, and whether each is the last: only that one is shorter."""
    pending: deque[Future[_Buffer]] = deque()
    offset = 0
    while True:
        while len(pending) < ahead:
            try:
                buffer = pool.get(block=not pending)
            except Empty:
                break
            pending.append(executor.submit(load, offset, buffer))
            offset += load.block_length
        block = pending.popleft().result()
        is_last = block.length < load.block_length
        yield block, is_last
        if is_last:
            return


def _assemble(
    blocks: Iterator[tuple[_Buffer, bool]], sizes: ChunkSizes, pool: SimpleQueue[_Buffer]
) -> Iterator[Run]:
    """Put what is left over of each block in front of the next, and yield what is whole."""
    rule = CutRule(sizes)
    base = 0
    rest, rest_zero = b"", True
    for block, is_last in blocks:
        ends = rule.feed(block.bits, block.length)
        if is_last and (end := rule.finish()) is not None:
            ends.append(end)
        whole = ends[-1] - base if ends else 0
        zero, offset = block.zero and rest_zero, base - len(rest)
        tail = block.memory[block.room + whole : block.room + block.length]
        base += block.length
        if ends:
            front = block.room - len(rest)
            block.memory[front : block.room] = rest
            rest, rest_zero = bytes(tail), block.zero
            data = block.memory[front : block.room + whole].toreadonly()
            yield Run(offset, data, tuple(ends), zero, block, pool)
        else:
            rest, rest_zero = rest + tail, zero
            pool.put(block)

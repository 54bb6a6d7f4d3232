# SPDX-License-Identifier: Apache-2.0
"""Reads at a position: past short counts, blocks that the medium has lost, and the page cache."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager

BLOCK = 4096
"""What is lost, and written, at a time: the page of Linux and the least that flash rewrites."""

MOST_LOST = 64
"""Blocks that may be lost: each can take a disk seconds, and a medium with more is at its end."""


class LostBlocks:
    """Blocks that could not be read, and that a write may bring back.

    So a cut in the middle of a write leaves a sector, and age a page of flash. For whoever looks
    for known content they read as random bytes, which are in no image: zeros might be right.

    Attributes:
        starts: offsets of the blocks in the device or file, in no order.
    """

    def __init__(self) -> None:
        self.starts: set[int] = set()
        self._random = os.urandom(BLOCK)

    def fill(self, offset: int, view: memoryview) -> int:
        """Fill what `view` has of the block that holds `offset`; return how many bytes that are.

        Raises:
            OSError: EIO, too many blocks are lost.
        """
        start = offset - offset % BLOCK
        self.starts.add(start)
        if len(self.starts) > MOST_LOST:
            raise OSError(errno.EIO, f"more than {MOST_LOST} blocks of {BLOCK} cannot be read")
        piece = self._random[offset - start :][: len(view)]
        view[: len(piece)] = piece
        return len(piece)

    def within(self, start: int, end: int) -> bool:
        """Tell whether any of these bytes are lost."""
        return any(start < block + BLOCK and block < end for block in self.starts)


def read_into(
    fd: int,
    offset: int,
    buffer: bytearray | memoryview,
    length: int,
    lost: LostBlocks | None = None,
) -> int:
    """Fill `buffer[:length]` from `offset`; return how many bytes there were before the end.

    Args:
        fd: a file or block device; its file position stays.
        offset: in bytes.
        buffer: at least `length` bytes.
        length: in bytes.
        lost: takes blocks that cannot be read; None lets them raise.

    Raises:
        OSError: a read failed.
    """
    done = 0
    view = memoryview(buffer)
    while done < length:
        try:
            count = os.preadv(fd, [view[done:length]], offset + done)
        except OSError as error:
            if lost is None or error.errno != errno.EIO:
                raise
            count = lost.fill(offset + done, view[done:length])
        if count == 0:
            break
        done += count
    return done


@contextmanager
def past_cache(fd: int) -> Iterator[int | None]:
    """Open once more what `fd` has open, for `read_medium`; None where that cannot be had.

    tmpfs before Linux 6.6 and some file systems in user space refuse O_DIRECT, and a process that
    gave up its rights may not open again what it holds.
    """
    try:
        direct = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_DIRECT | os.O_CLOEXEC)
    except OSError:
        yield None
        return
    try:
        yield direct
    finally:
        os.close(direct)


def read_medium(direct: int | None, fd: int, offset: int, view: memoryview) -> int:
    """Fill `view` as `read_into`, from the medium itself; return how many bytes there were.

    What direct reading will not give is forgotten by the page cache first, as far as it is flushed.

    Args:
        direct: from `past_cache`.
        fd: the same file or device.
        offset: in bytes, a multiple of `BLOCK`.
        view: of memory that begins on a page (`Scratch`), a multiple of `BLOCK` long.

    Raises:
        OSError: a read failed.
    """
    count = 0
    if direct is not None:
        try:
            count = os.preadv(direct, [view], offset)
        except OSError as error:
            if error.errno != errno.EINVAL:  # sectors, or an alignment, larger than a block
                raise
    rest = len(view) - count
    if rest == 0:
        return count
    os.posix_fadvise(fd, offset + count, rest, os.POSIX_FADV_DONTNEED)
    return count + read_into(fd, offset + count, view[count:], rest)

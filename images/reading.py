# SPDX-License-Identifier: Apache-2.0
"""Reads at a position: past short counts, and past blocks that the medium has lost."""

from __future__ import annotations

import errno
import os

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

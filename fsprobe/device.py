# SPDX-License-Identifier: Apache-2.0
"""Bounded reads from a device or an image file.

Every format reads through a `Device` of its own, which never reads past the end, counts what was
read and refuses more than `READ_BUDGET`, so that a hostile superblock cannot make a probe slow.
"""

from __future__ import annotations

import os
import stat
from fcntl import ioctl

READ_BUDGET = 2 << 20
"""Bytes that one format may read."""

BLKSSZGET = 0x1268  # linux/fs.h: logical sector size, int
BLKGETSIZE64 = 0x80081272  # linux/fs.h: length in bytes, u64


class BudgetExceeded(Exception):
    """A format asked for more than `READ_BUDGET` bytes in total."""


class Device:
    """Reads from an open descriptor, or from a region of it that stands for a device of its own.

    Attributes:
        length: bytes of the device, file or region.
        sector_size: the device's logical sector size in bytes; None for a file, which has none.
    """

    def __init__(self, fd: int, start: int = 0, length: int | None = None) -> None:
        """Use the descriptor as it is: it is neither closed nor moved.

        Args:
            fd: of a block device or file.
            start: where in it the region begins.
            length: bytes of the region, None for all that there are.

        Raises:
            OSError: it cannot be examined, or it is neither a file nor a block device.
        """
        self._fd = fd
        self._start = start
        self._budget = READ_BUDGET
        mode = os.fstat(fd).st_mode
        self.sector_size: int | None = None
        if stat.S_ISBLK(mode):
            self.length = int.from_bytes(ioctl(fd, BLKGETSIZE64, bytes(8)), "little")
            self.sector_size = int.from_bytes(ioctl(fd, BLKSSZGET, bytes(4)), "little")
        elif stat.S_ISREG(mode):
            self.length = os.fstat(fd).st_size
        else:
            raise OSError(22, "neither a regular file nor a block device")
        self.length = max(0, self.length - start)
        if length is not None:
            self.length = min(self.length, length)

    def read(self, offset: int, length: int) -> bytes:
        """Return `length` bytes at `offset`, or fewer where the device ends; never past it.

        Raises:
            BudgetExceeded: this and the reads before are more than a format may have.
            OSError: the device failed.
        """
        length = max(0, min(length, self.length - offset))
        if offset < 0 or length == 0:
            return b""
        self._budget -= length
        if self._budget < 0:
            raise BudgetExceeded
        # Linux returns what is before a bad sector, and fails the read that begins with it.
        data = b""
        while len(data) < length:
            at = self._start + offset + len(data)
            piece = os.pread(self._fd, length - len(data), at)
            if not piece:
                break
            data += piece
        return data

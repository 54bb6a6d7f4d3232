# SPDX-License-Identifier: Apache-2.0
"""Requests that Linux marks FUA, known by their data.

QEMU's NVMe disk says that it can write through its cache, and leaves the mark out (seen with 7.2).
So an ext4 in a guest would not be safe on a volatile disk, through no fault of its own. jbd2 marks
commit blocks and its superblock (fs/jbd2/commit.c, journal.c of Linux 6.1), ext4 its own
(ext4_commit_super); these are requests of one block. All else that is made durable is flushed.
"""

from __future__ import annotations

import struct

from tests.vm.volatile_disk import BLOCK

_JBD2_MAGIC = 0xC03B3998
_JBD2_THROUGH = (2, 3, 4)  # commit block, superblock of version 1, of version 2
_EXT4_MAGIC = 0xEF53
_EXT4_MAGIC_AT = 1024 + 56


def is_written_through(data: bytes) -> bool:
    """Tell whether Linux asks for FUA with a request that writes this."""
    if len(data) != BLOCK:
        return False
    magic, kind = struct.unpack_from(">II", data)
    (ext4,) = struct.unpack_from("<H", data, _EXT4_MAGIC_AT)
    return (magic == _JBD2_MAGIC and kind in _JBD2_THROUGH) or ext4 == _EXT4_MAGIC

# SPDX-License-Identifier: Apache-2.0
"""The few system calls that Python does not have, with the names and numbers of the headers."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct

BLKZEROOUT = 0x127F  # linux/fs.h: u64 start, u64 length, both in whole sectors
FICLONERANGE = 0x4020940D  # linux/fs.h: struct file_clone_range

FALLOC_FL_KEEP_SIZE = 0x01  # linux/falloc.h
FALLOC_FL_PUNCH_HOLE = 0x02

_UNSUPPORTED = {errno.EOPNOTSUPP, errno.ENOSYS, errno.ENOTTY, errno.EINVAL, errno.EXDEV}

_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)
_libc.syncfs.argtypes = (ctypes.c_int,)


def syncfs(fd: int) -> None:
    """Bring everything of the file system that holds `fd` to the medium."""
    _check(_libc.syncfs(fd))


def punch_hole(fd: int, offset: int, length: int) -> bool:
    """Make a range of a file read as zeros without taking space; False where unsupported."""
    mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE
    try:
        _check(_libc.fallocate(fd, mode, offset, length))
    except OSError as error:
        if error.errno in _UNSUPPORTED:
            return False
        raise
    return True


def zero_out(fd: int, offset: int, length: int) -> bool:
    """Let the device zero a range of whole sectors; False where it will not."""
    return _supported(fd, BLKZEROOUT, struct.pack("=QQ", offset, length))


def clone_range(fd: int, offset: int, source_fd: int, source_offset: int, length: int) -> bool:
    """Share whole blocks between two files; False where the file systems do not."""
    request = struct.pack("=qQQQ", source_fd, source_offset, length, offset)
    return _supported(fd, FICLONERANGE, request)


def _supported(fd: int, request: int, argument: bytes) -> bool:
    try:
        fcntl.ioctl(fd, request, argument)
    except OSError as error:
        if error.errno in _UNSUPPORTED:
            return False
        raise
    return True


def _check(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))

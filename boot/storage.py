# SPDX-License-Identifier: Apache-2.0
"""Small reads and durable writes of boot environments.

Every byte that `boot` writes goes here, save raw flash (`flash`, which must erase first) and
variables of the firmware (`efivars`, each of which is one call).

Two ways to write, because bootloaders read file systems without replaying their journals: after a
rename and a crash, the kernel sees the new file and GRUB and U-Boot the old one.

    overwrite      in place: what the bootloader sees changes with the flush. For environments that
                   have a checksum or a second copy, or whose meaning fits one sector
    replace_file   temporary name, fsync, rename, fsync of the folder: for FAT, which has no
                   journal, and for files that only Linux reads
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from boot.errors import BootloaderMissing, EnvironmentFault


@contextmanager
def os_errors(what: str | Path) -> Iterator[None]:
    """Raise every OSError of the block as a `BootError` that names `what`."""
    try:
        yield
    except FileNotFoundError as error:
        raise BootloaderMissing(f"{what}: {error.strerror}") from error
    except OSError as error:
        raise EnvironmentFault(f"{what}: {error.strerror or error}") from error


def read_at(path: Path, offset: int, length: int) -> bytes:
    """Return up to `length` bytes from `offset`; fewer where the file or device ends.

    Raises:
        BootloaderMissing: there is no such file.
        EnvironmentFault: it cannot be read.
    """
    with os_errors(path):
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return _read(fd, offset, length)
        finally:
            os.close(fd)


def _read(fd: int, offset: int, length: int) -> bytes:
    data = b""
    while len(data) < length:
        piece = os.pread(fd, length - len(data), offset + len(data))
        if not piece:
            break
        data += piece
    return data


def _settle(fd: int, offset: int, data: bytes) -> None:
    """Bring what was written to the medium, and see that it is there.

    Raises:
        OSError: it is not: a medium may take a write and keep something else.
    """
    os.fsync(fd)
    os.posix_fadvise(fd, offset, len(data), os.POSIX_FADV_DONTNEED)
    if _read(fd, offset, len(data)) != data:
        raise OSError(errno.EIO, "reads back otherwise than it was written")


def overwrite(path: Path, offset: int, data: bytes) -> None:
    """Write bytes in place and bring them to the medium; the file or device keeps its length.

    Raises:
        BootloaderMissing: there is no such file.
        EnvironmentFault: it cannot be written.
    """
    with os_errors(path):
        fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        try:
            view, at = memoryview(data), offset
            while view:
                count = os.pwrite(fd, view, at)
                view, at = view[count:], at + count
            _settle(fd, offset, data)
        finally:
            os.close(fd)


def replace_file(path: Path, data: bytes) -> None:
    """Write a whole file so that a power cut leaves the old one or the new one.

    Raises:
        BootloaderMissing: there is no such folder.
        EnvironmentFault: it cannot be written.
    """
    # The same name every time: what a cut left behind is taken over, and never piles up.
    temporary = path.with_name(f"{path.name}.new")
    with os_errors(path):
        fd = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(fd, view) :]
            _settle(fd, 0, data)
        finally:
            os.close(fd)
        os.rename(temporary, path)
        sync_folder(path.parent)


def rename(path: Path, new: Path) -> None:
    """Rename a file durably, within its folder.

    Raises:
        BootloaderMissing: there is no such file.
        EnvironmentFault: it cannot be renamed.
    """
    with os_errors(path):
        os.rename(path, new)
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)

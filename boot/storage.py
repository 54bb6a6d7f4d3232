# SPDX-License-Identifier: Apache-2.0
"""Small reads and durable writes of boot environments.

Every byte that `boot` writes goes here, save raw flash (`flash`, which must erase first) and
variables of the firmware (`efivars`, each of which is one call).

Two ways to write, because bootloaders read file systems without replaying their journals: after a
rename and a crash, the kernel sees the new file and GRUB and U-Boot the old one.

    overwrite      in place: what the bootloader sees changes with the flush. For environments that
                   have a checksum or a second copy, or whose meaning fits one sector
    replace_file   temporary name, fsync, rename, fsync of file and folder: for FAT, which has no
                   journal, and for files that only Linux reads

What FAT is after each write was seen on the medium: tests/vm/fat_crashes.py.
"""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
from array import array
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from boot.errors import BootloaderMissing, EnvironmentFault

SHARED = ".shared-"
"""In the name of a file whose clusters another one has as well; see `discard`."""
_FIBMAP = 1  # linux/fs.h


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
    # All of it: Linux keeps what is named only in part, and that may be more than a page.
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
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
    discard(temporary, path)
    with os_errors(path), ExitStack() as opened:
        fd = _opened(opened, temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        # On FAT this makes durable that the clusters are taken; the file's own flush says which
        # they are. A name of a free cluster cannot be removed: Linux turns read-only.
        sync_folder(path.parent)
        _settle(fd, 0, data)
        if path.exists():
            # Open, it keeps its clusters until nothing on the medium names them.
            _opened(opened, path, os.O_RDONLY)
        _move(fd, temporary, path)


def rename(path: Path, new: Path) -> None:
    """Rename a file durably, within its folder; what had the new name before is gone.

    A power cut leaves it under the old name, under the new one, or under both. Beside the old one
    there may be an empty file that has the new name already.

    Raises:
        BootloaderMissing: there is no such file.
        EnvironmentFault: it cannot be renamed.
    """
    with os_errors(path), ExitStack() as opened:
        fd = _opened(opened, path, os.O_RDONLY)
        if new.exists() and new.stat().st_size:
            discard(new, path)
        # A long name takes several places of a folder, in one sector or two. They are durable
        # before the old name goes; from then on one sector says what the new one means.
        _opened(opened, new, os.O_RDWR | os.O_CREAT)
        sync_folder(path.parent)
        _move(fd, path, new)


def discard(path: Path, kept: Path) -> None:
    """Remove a file that a power cut may have left; nothing if there is no such file.

    Where a cut left one file under two names on FAT, removing either would free the clusters of
    both, and the next file would be written over what boots. Such a name is put out of the way.

    Args:
        path: what is removed.
        kept: the file in the same folder that stays.

    Raises:
        EnvironmentFault: it cannot be removed.
    """
    with os_errors(path), ExitStack() as opened:
        if not path.exists():
            return
        fd = _opened(opened, path, os.O_RDONLY)
        if kept.exists() and _same_blocks(fd, _opened(opened, kept, os.O_RDONLY)):
            os.rename(path, _out_of_the_way(path))
            os.fsync(fd)
        else:
            # Open, it keeps its clusters until nothing on the medium names them.
            os.unlink(path)
        sync_folder(path.parent)


def _opened(opened: ExitStack, path: Path, flags: int) -> int:
    fd = os.open(path, flags | os.O_CLOEXEC, 0o644)
    opened.callback(os.close, fd)
    return fd


def _move(fd: int, path: Path, new: Path) -> None:
    """Rename a file that is open, durably.

    On FAT a name says where a file begins and how long it is. Linux writes the names with the
    folder, but these two with the file (fs/fat/namei_vfat.c, vfat_rename): without its flush the
    new name is that of an empty file, or of the old one, whose clusters are free. The file goes
    first, so that it always has a name that is right.
    """
    os.rename(path, new)
    os.fsync(fd)
    sync_folder(new.parent)


def _same_blocks(fd: int, other: int) -> bool:
    """Tell whether two files begin at the same place of the medium, or may do so."""
    length = os.fstat(fd).st_size
    if not length or length != os.fstat(other).st_size:
        return False
    try:
        return _first_block(fd) == _first_block(other)
    except PermissionError:
        return True
    except OSError:  # a file system without blocks
        return False


def _first_block(fd: int) -> int:
    block = array("i", [0])
    fcntl.ioctl(fd, _FIBMAP, block)
    return block[0]


def _out_of_the_way(path: Path) -> Path:
    """Return a name that no bootloader knows, and that nothing has."""
    names = (path.with_name(f"{path.name}{SHARED}{number}") for number in itertools.count(1))
    return next(name for name in names if not name.exists())


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)

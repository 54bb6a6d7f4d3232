# SPDX-License-Identifier: Apache-2.0
"""Files that are there whole after a power cut, or not at all."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from images.errors import DeviceFault, ImageError, NoSpace, NotAccessible


def error_of(error: OSError, what: str) -> ImageError:
    """Turn an errno into the error whose class says what to do next."""
    message = f"{what}: {error.strerror or error}"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return NoSpace(message)
    if error.errno in (errno.EIO, errno.EREMOTEIO, errno.ENODEV, errno.ENXIO, errno.EUCLEAN):
        return DeviceFault(message)
    if error.errno == errno.EROFS:
        hint = "mount its file system writable; ext4 goes read-only after an error, see dmesg"
        return NotAccessible(message, hint=hint)
    return NotAccessible(message)


@contextmanager
def os_errors(what: str) -> Iterator[None]:
    """Raise every OSError of the block as an `ImageError` that names `what`."""
    try:
        yield
    except OSError as error:
        raise error_of(error, what) from error


def replace_file(path: Path, data: bytes, mode: int) -> None:
    """Write a whole file: temporary name, fsync, rename over `path`, fsync of the folder."""
    temporary = path.with_name(f".#{path.name}{os.urandom(8).hex()}")
    with os_errors(str(path)):
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            try:
                view = memoryview(data)
                while view:
                    view = view[os.write(fd, view) :]
                os.fchmod(fd, mode)
                os.fsync(fd)
            finally:
                os.close(fd)
            os.rename(temporary, path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make renames in a folder durable."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)

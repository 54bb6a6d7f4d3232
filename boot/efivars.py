# SPDX-License-Identifier: Apache-2.0
"""UEFI variables, through the files of efivarfs.

Source: Linux, Documentation/filesystems/efivarfs.rst: the file `Name-guid` holds u32 attributes and
the value, little-endian; one write() is one SetVariable(), which the firmware does wholly or not at
all (UEFI specification 2.10, section 8.2.3). Variables that the kernel does not know, such as those
of boot loaders, are immutable files, so that `rm -rf` does not ruin a machine: the flag is taken
away for the write and put back.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from boot.errors import BootloaderMissing, EnvironmentInvalid
from boot.storage import os_errors, read_at

EFIVARS = Path("/sys/firmware/efi/efivars")
GLOBAL = "8be4df61-93ca-11d2-aa0d-00e098032b8c"
"""EFI_GLOBAL_VARIABLE; UEFI specification 2.10, section 3.3."""
LOADER = "4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
"""systemd, src/fundamental/efivars-fundamental.h; https://systemd.io/BOOT_LOADER_INTERFACE."""

DURABLE = 0x07
"""NON_VOLATILE, BOOTSERVICE_ACCESS, RUNTIME_ACCESS; UEFI specification 2.10, section 8.2.1."""
LENGTH_LIMIT = 64 << 10
"""Bytes; EDK II takes at most 33 KiB (PcdMaxVariableSize), and ours have a few hundred."""

# Linux, include/uapi/linux/fs.h: _IOR('f', 1, long), _IOW('f', 2, long), FS_IMMUTABLE_FL. The
# kernel copies an int all the same.
_LONG = struct.calcsize("l") << 16
FS_IOC_GETFLAGS = 0x80006601 | _LONG
FS_IOC_SETFLAGS = 0x40006602 | _LONG
FS_IMMUTABLE_FL = 0x10
_NO_FLAGS = {errno.ENOTTY, errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS}


@dataclass(frozen=True, slots=True)
class EfiVariables:
    """The variables in one efivarfs."""

    folder: Path = EFIVARS

    def read(self, name: str, guid: str) -> bytes | None:
        """Return the value of a variable, None if there is none.

        Raises:
            BootloaderMissing: there is no efivarfs.
            EnvironmentInvalid: no attributes, or longer than any variable.
            EnvironmentFault: it cannot be read.
        """
        found = self._read(name, guid)
        return None if found is None else found[1]

    def write(self, name: str, guid: str, value: bytes) -> None:
        """Set a variable, durably; nothing is written if it has this value.

        Raises:
            BootloaderMissing, EnvironmentFault.
        """
        path = self._path(name, guid)
        try:
            if self._read(name, guid) == (DURABLE, value):
                return
        except EnvironmentInvalid:
            pass  # what is damaged there is replaced
        data = struct.pack("<I", DURABLE) + value
        with os_errors(path), _mutable(path):
            # No O_TRUNC: the write alone decides what the firmware sees.
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                count = os.write(fd, data)
                if count != len(data):
                    raise OSError(errno.EIO, f"{count} of {len(data)} bytes were written")
                if os.fstat(fd).st_size > count:
                    os.ftruncate(fd, count)  # a plain file in a test; efivarfs has done it
            finally:
                os.close(fd)

    def delete(self, name: str, guid: str) -> None:
        """Delete a variable, if it is there.

        Raises:
            BootloaderMissing, EnvironmentFault.
        """
        if not os.path.lexists(path := self._path(name, guid)):
            return
        with os_errors(path), _mutable(path, put_back=False):
            os.unlink(path)

    def names(self, guid: str) -> list[str]:
        """Return the names of the variables of one vendor, sorted.

        Raises:
            BootloaderMissing, EnvironmentFault.
        """
        with os_errors(self.folder):
            found = os.listdir(self.folder)
        ending = f"-{guid}"
        return sorted(name.removesuffix(ending) for name in found if name.endswith(ending))

    def read_text(self, name: str, guid: str) -> str | None:
        """Return a value of UTF-16 with its NUL; None if there is none, or if it is no text."""
        value = self.read(name, guid)
        return None if value is None else decoded(value)

    def write_text(self, name: str, guid: str, text: str) -> None:
        """Set a variable to a text, as UTF-16 with a NUL."""
        self.write(name, guid, encoded(text))

    def writable(self) -> bool:
        """Tell whether variables can be set while Linux runs; some firmware cannot do it."""
        return os.access(self.folder, os.W_OK)

    def _path(self, name: str, guid: str) -> Path:
        if not self.folder.is_dir():
            raise BootloaderMissing(
                f"{self.folder}: no UEFI variables",
                hint="did UEFI start this system, and is efivarfs mounted?",
            )
        return self.folder / f"{name}-{guid}"

    def _read(self, name: str, guid: str) -> tuple[int, bytes] | None:
        path = self._path(name, guid)
        try:
            data = read_at(path, 0, LENGTH_LIMIT + 1)
        except BootloaderMissing:
            return None
        if not 4 <= len(data) <= LENGTH_LIMIT:
            raise EnvironmentInvalid(f"{path}: {len(data)} bytes are no variable")
        return int.from_bytes(data[:4], "little"), data[4:]


def decoded(value: bytes) -> str | None:
    """Return the text of UTF-16 bytes up to the first NUL; None if they are no text."""
    try:
        return value.decode("utf-16-le").partition("\0")[0]
    except UnicodeDecodeError:
        return None


def encoded(text: str) -> bytes:
    """Return a text as UTF-16 with a NUL."""
    return f"{text}\0".encode("utf-16-le")


@contextmanager
def _mutable(path: Path, *, put_back: bool = True) -> Iterator[None]:
    """Take FS_IMMUTABLE_FL away while the block runs; nothing where there is no flag or no file."""
    flags = 0
    if path.exists():
        flags = inode_flags(path)
        if flags & FS_IMMUTABLE_FL:
            set_inode_flags(path, flags & ~FS_IMMUTABLE_FL)
    try:
        yield
    finally:
        if put_back and flags & FS_IMMUTABLE_FL:
            set_inode_flags(path, flags)


def inode_flags(path: Path) -> int:
    """Return the flags that `lsattr` shows; 0 where the file system has none."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return int.from_bytes(fcntl.ioctl(fd, FS_IOC_GETFLAGS, bytes(8))[:4], sys.byteorder)
    except OSError as error:
        if error.errno in _NO_FLAGS:
            return 0
        raise
    finally:
        os.close(fd)


def set_inode_flags(path: Path, flags: int) -> None:
    """Set the flags that `chattr` sets."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.ioctl(fd, FS_IOC_SETFLAGS, struct.pack("=II", flags, 0))
    finally:
        os.close(fd)

# SPDX-License-Identifier: Apache-2.0
"""The running system as it is read: files of /proc and /sys, and nodes of /dev.

The one seam between the rules about slots and the machine. With another root the same code reads a
tree that a test has written; device nodes, which such a tree cannot have, are then looked up in a
table.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from fcntl import ioctl
from pathlib import Path
from typing import NamedTuple

LOOP_GET_STATUS64 = 0x4C05  # linux/loop.h
_LOOP_INFO = struct.Struct("=QQQ208x")
"""The head of struct loop_info64, linux/loop.h: lo_device, lo_inode, lo_rdevice; 232 bytes."""

MAX_LENGTH = 4 << 20
"""Bytes of one file; the mount table of a machine full of containers has some hundred KiB."""


class Number(NamedTuple):
    """The number of a block device."""

    major: int
    minor: int

    def __str__(self) -> str:
        return f"{self.major}:{self.minor}"

    @classmethod
    def parse(cls, text: str) -> Number:
        """Read `259:3`.

        Raises:
            ValueError: it is none.
        """
        major, minor = text.strip().split(":")
        return cls(int(major), int(minor))


@dataclass(frozen=True, slots=True)
class Node:
    """What a path leads to.

    Attributes:
        number: of the block device; None for a regular file.
        file: device of the file system, and inode: the same for all names of one file.
        length: bytes of a regular file.
    """

    number: Number | None
    file: tuple[int, int]
    length: int


@dataclass(frozen=True, slots=True)
class System:
    """Reads below a root.

    Attributes:
        root: `/`, or that of a tree.
        devices: numbers of device nodes by absolute path, for a tree that cannot have any.
        held: paths that the kernel does not give away, for such a tree.
        loops: what loop devices show by the kernel's word, for such a tree.
    """

    root: Path = Path("/")
    devices: Mapping[str, Number] = field(default_factory=dict)
    held: frozenset[str] = frozenset()
    loops: Mapping[str, Node] = field(default_factory=dict)

    def path(self, name: str | Path) -> Path:
        """Return where an absolute path of the system is."""
        return self.root / str(name).lstrip("/")

    def text(self, name: str | Path) -> str | None:
        """Return a file's text without the white space around it; None if it cannot be read."""
        try:
            with open(self.path(name), "rb") as file:
                return file.read(MAX_LENGTH).decode("utf-8", "surrogateescape").strip()
        except OSError:
            return None

    def names(self, folder: str | Path) -> tuple[str, ...]:
        """Return what is in a folder, sorted; nothing if it cannot be read."""
        try:
            return tuple(sorted(os.listdir(self.path(folder))))
        except OSError:
            return ()

    def resolved(self, name: str | Path) -> Path:
        """Return an absolute path with its links followed, within the root."""
        real = os.path.realpath(self.path(name))
        return Path("/", os.path.relpath(real, os.path.realpath(self.root)))

    def exists(self, name: str | Path) -> bool:
        """Tell whether something is there."""
        return self.path(name).exists()

    def node(self, name: str | Path) -> Node | None:
        """Return what a path leads to; None unless it is a block device or a regular file."""
        listed = self.devices.get(str(self.resolved(name))) or self.devices.get(str(name))
        if listed is not None:
            return Node(listed, (0, 0), 0)
        try:
            found = os.stat(self.path(name))
        except OSError:
            return None
        file = (found.st_dev, found.st_ino)
        if stat.S_ISBLK(found.st_mode):
            return Node(Number(os.major(found.st_rdev), os.minor(found.st_rdev)), file, 0)
        if stat.S_ISREG(found.st_mode):
            return Node(None, file, found.st_size)
        return None

    def loop_node(self, name: str) -> Node | None:
        """Return what a loop device shows, by the kernel's own word; None if it is not told.

        The path in sysfs may lead elsewhere by now: the file can have been renamed over or removed,
        or opened in another mount namespace, such as that of an initramfs.

        Args:
            name: of the device, such as `loop0`.
        """
        if self.root != Path("/"):
            return self.loops.get(name)
        try:
            fd = os.open(f"/dev/{name}", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            told = ioctl(fd, LOOP_GET_STATUS64, bytes(_LOOP_INFO.size))
        except OSError:  # nothing is attached, or it is no loop device
            return None
        finally:
            os.close(fd)
        holder, inode, shown = _LOOP_INFO.unpack(told)
        # For a file lo_rdevice is that of its file system once more: loop_get_status() in the
        # kernel's drivers/block/loop.c.
        if shown not in (0, holder):
            return Node(_decoded(shown), (0, 0), 0)
        return Node(None, (os.makedev(*_decoded(holder)), inode), 0)

    def is_held(self, name: str | Path) -> bool:
        """Tell whether the kernel refuses a block device to an exclusive user.

        Mounts count in every namespace, and so do swap, mappings, arrays, and programs that asked
        for it alone (open(2), O_EXCL on a block device).
        """
        if self.root != Path("/"):
            return str(name) in self.held
        try:
            fd = os.open(self.path(name), os.O_RDONLY | os.O_EXCL | os.O_CLOEXEC)
        except OSError as error:
            return error.errno == errno.EBUSY
        os.close(fd)
        return False


def _decoded(number: int) -> Number:
    """Undo huge_encode_dev() of linux/kdev_t.h: minor in bits 0-7 and 20-31, major in 8-19."""
    return Number((number >> 8) & 0xFFF, (number & 0xFF) | ((number >> 12) & 0xFFF00))

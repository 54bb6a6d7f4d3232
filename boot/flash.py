# SPDX-License-Identifier: Apache-2.0
"""Raw flash and UBI volumes as places of an environment.

    Mtd     NOR or NAND behind /dev/mtdN: whole eraseblocks, erased before they are written
    Ubi     a volume /dev/ubiX_Y: the kernel is told first how much comes

Numbers: Linux include/uapi/mtd/mtd-abi.h and ubi-user.h, as most architectures encode them
(asm-generic/ioctl.h; MIPS, PowerPC and SPARC differ and are not supported on raw flash).
"""

from __future__ import annotations

import fcntl
import os
import re
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from boot.errors import BootSettingInvalid, EnvironmentFault
from boot.media import Location, Medium, Plain, Scheme
from boot.storage import os_errors, read_at

MEMGETINFO = 0x80204D01
MEMERASE = 0x40084D02
MEMLOCK = 0x40084D05
MEMUNLOCK = 0x40084D06
MEMGETBADBLOCK = 0x40084D0B
UBI_IOCVOLUP = 0x40084F00
NOR_FLASH, NAND_FLASH, DATA_FLASH = 3, 4, 6

SYS_UBI = Path("/sys/class/ubi")


class Calls:
    """The system calls that tests replace by a flash of their own."""

    def ioctl(self, fd: int, request: int, argument: bytearray) -> int:
        """Make an ioctl that may change its argument."""
        result: int = fcntl.ioctl(fd, request, argument)
        return result

    def pwrite(self, fd: int, data: bytes, offset: int) -> int:
        """Write."""
        return os.pwrite(fd, data, offset)


def medium_at(location: Location) -> Medium:
    """Find out what kind of medium a location is on.

    Raises:
        BootloaderMissing, EnvironmentFault: there is no such device.
        BootSettingInvalid: it is none that can hold an environment.
    """
    device = _volume(location.device)
    location = replace(location, device=device)
    with os_errors(device):
        mode = device.stat().st_mode
        if location.offset < 0:
            location = _from_the_end(location)
    if not stat.S_ISCHR(mode):
        return Plain(location)
    name = device.resolve().name
    if name.startswith("ubi"):
        return Ubi(location)
    if name.startswith("mtd"):
        return Mtd(location)
    raise BootSettingInvalid(f"{device}: a character device that is neither MTD nor UBI")


class Mtd:
    """Raw flash."""

    def __init__(self, location: Location, calls: Calls | None = None) -> None:
        self._calls = calls or Calls()
        info = bytearray(32)
        with self._open(location.device, os.O_RDONLY) as fd:
            self._calls.ioctl(fd, MEMGETINFO, info)
        kind, self._length, erase_size = struct.unpack_from("B7xII", info)
        if kind not in (NOR_FLASH, NAND_FLASH, DATA_FLASH):
            raise BootSettingInvalid(f"{location.device}: MTD of type {kind}, neither NOR nor NAND")
        self._nand = kind == NAND_FLASH
        self.scheme = Scheme.SERIAL if self._nand else Scheme.ACTIVE
        self._sector = location.sector_size or erase_size
        if self._sector <= 0 or self._sector % erase_size or location.offset % self._sector:
            raise BootSettingInvalid(
                f"{location.device}: offset {location.offset:#x} and sector size {self._sector:#x}"
                f" do not fit eraseblocks of {erase_size:#x} bytes"
            )
        self.location = location

    def read(self) -> bytes:
        """See `Medium`."""
        with self._open(self.location.device, os.O_RDONLY) as fd:
            data = b""
            for at in self._sectors(fd):
                length = min(self._sector, self.location.size - len(data))
                data += os.pread(fd, length, at)
            return data

    def write(self, data: bytes) -> None:
        """See `Medium`. On NOR, what else is in the last eraseblock is put back."""
        with self._open(self.location.device, os.O_RDWR) as fd:
            done = 0
            for at in self._sectors(fd):
                piece = data[done : done + self._sector]
                done += len(piece)
                rest = b"" if self._nand else os.pread(fd, self._sector, at)[len(piece) :]
                region = struct.pack("=II", at, self._sector)
                self._lock(fd, MEMUNLOCK, region)
                self._calls.ioctl(fd, MEMERASE, bytearray(region))
                if self._calls.pwrite(fd, piece, at) != len(piece):
                    raise EnvironmentFault(f"{self.location.device}: short write")
                if rest.strip(b"\xff"):
                    self._calls.pwrite(fd, rest, at + len(piece))
                self._lock(fd, MEMLOCK, region)
        # The old copy is made obsolete only after this one has been seen on the flash.
        if self.read() != data:
            raise EnvironmentFault(f"{self.location.device}: reads back other than written")

    def clear_byte(self, at: int) -> None:
        """See `Medium`."""
        with self._open(self.location.device, os.O_RDWR) as fd:
            region = struct.pack("=II", self.location.offset, self._sector)
            self._lock(fd, MEMUNLOCK, region)
            self._calls.pwrite(fd, b"\0", self.location.offset + at)
            self._lock(fd, MEMLOCK, region)

    def _sectors(self, fd: int) -> list[int]:
        """Return the eraseblocks in use, bad ones of NAND left out.

        Raises:
            EnvironmentFault: there are not enough good ones.
        """
        needed = -(-self.location.size // self._sector)
        allowed = max(self.location.sectors, needed)
        found: list[int] = []
        for number in range(allowed):
            at = self.location.offset + number * self._sector
            bad = self._nand and self._calls.ioctl(
                fd, MEMGETBADBLOCK, bytearray(struct.pack("=q", at))
            )
            if not bad and at + self._sector <= self._length:
                found.append(at)
            if len(found) == needed:
                return found
        raise EnvironmentFault(f"{self.location.device}: too few good eraseblocks")

    def _lock(self, fd: int, request: int, region: bytes) -> None:
        """Ask for protection or its end; most flashes have none and say so."""
        try:
            self._calls.ioctl(fd, request, bytearray(region))
        except OSError:
            return

    @contextmanager
    def _open(self, device: Path, mode: int) -> Iterator[int]:
        with os_errors(device):
            fd = os.open(device, mode | os.O_CLOEXEC | os.O_SYNC)
            try:
                yield fd
            finally:
                os.close(fd)


class Ubi:
    """A UBI volume. An interrupted update leaves it unreadable: a torn copy."""

    scheme = Scheme.SERIAL

    def __init__(self, location: Location, calls: Calls | None = None) -> None:
        if location.offset:
            raise BootSettingInvalid(f"{location.device}: on a UBI volume the offset is 0")
        self.location = location
        self._calls = calls or Calls()

    def read(self) -> bytes:
        """See `Medium`."""
        try:
            return read_at(self.location.device, 0, self.location.size)
        except EnvironmentFault:
            return b""

    def write(self, data: bytes) -> None:
        """See `Medium`."""
        with os_errors(self.location.device):
            fd = os.open(self.location.device, os.O_RDWR | os.O_CLOEXEC)
            try:
                self._calls.ioctl(fd, UBI_IOCVOLUP, bytearray(struct.pack("=q", len(data))))
                done = 0
                while done < len(data):
                    done += os.write(fd, data[done:])
                os.fsync(fd)
            finally:
                os.close(fd)

    def clear_byte(self, at: int) -> None:
        """See `Medium`."""
        raise NotImplementedError("UBI volumes number their copies")


def _volume(device: Path) -> Path:
    """Resolve libubootenv's `/dev/ubi0:name` to `/dev/ubi0_N`."""
    match = re.fullmatch(r"(.*/(ubi\d+)):(.+)", str(device))
    if match is None:
        return device
    for name in sorted(SYS_UBI.glob(f"{match[2]}_*/name")):
        if read_at(name, 0, 256).strip() == match[3].encode():
            return Path(f"{match[1]}{name.parent.name.removeprefix(match[2])}")
    raise BootSettingInvalid(f"{device}: {match[2]} has no volume {match[3]!r}")


def _from_the_end(location: Location) -> Location:
    fd = os.open(location.device, os.O_RDONLY | os.O_CLOEXEC)
    try:
        start = os.lseek(fd, 0, os.SEEK_END) + location.offset
    finally:
        os.close(fd)
    if start < 0:
        raise BootSettingInvalid(f"{location.device}: shorter than {-location.offset} bytes")
    return replace(location, offset=start)

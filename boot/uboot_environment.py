# SPDX-License-Identifier: Apache-2.0
r"""U-Boot's stored environment: fw_env.config, one copy or two, checksums, which copy is in force.

    one copy    u32 crc │ name=value\0 name=value\0 … \0 │ padding
    two copies  u32 crc │ u8 flags │ name=value\0 … \0 │ padding

The CRC-32 covers everything after the header, padding included, in the byte order of the machine
that runs U-Boot, which is this one. Sources: U-Boot include/env_internal.h, env/common.c
(env_import_redund), env/flash.c, lib/hashtable.c; libubootenv src/uboot_env.c; fw_env.config as
both read it.
"""

from __future__ import annotations

import fcntl
import os
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from boot.errors import (
    BootSettingInvalid,
    EnvironmentBusy,
    EnvironmentFault,
    EnvironmentInvalid,
)
from boot.flash import medium_at
from boot.media import SECTOR, Location, Medium, Plain, Scheme
from boot.storage import os_errors, read_at

CONFIG = Path("/etc/fw_env.config")
LOCK = Path("/var/lock/fw_printenv.lock")
"""The lock of fw_setenv, U-Boot's and libubootenv's: nobody writes across another."""

LOCK_TIMEOUT_S = 10.0
SIZE_LIMIT = 16 << 20
OFFSET_LIMIT = 1 << 62
ACTIVE, OBSOLETE = 1, 0
CRC_SIZE = 4


@dataclass(frozen=True, slots=True)
class Environment:
    """What one reading found.

    Attributes:
        variables: by name; bytes that are no UTF-8 are kept as surrogates.
        current: the number of the copy that is in force, 0 or 1.
        warnings: copies that are torn, in words.
    """

    variables: Mapping[str, str]
    current: int
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Copy:
    raw: bytes
    flags: int
    body: bytes


def parse_config(text: str) -> tuple[Location, ...]:
    """Read a fw_env.config: one line for each copy.

    Fields: device, offset (as C writes numbers, may be negative), size, sector size and number of
    sectors (these three in hexadecimal, with or without 0x).

    Raises:
        BootSettingInvalid: it makes no sense.
    """
    found: list[Location] = []
    for number, line in enumerate(text.splitlines(), 1):
        fields = line.split()
        if not fields or fields[0].startswith("#"):
            continue
        try:
            device, offset, size, *more = fields
            sector_size, sectors = [*(int(field, 16) for field in more[:2]), 0, 0][:2]
            location = Location(
                Path(device), _c_integer(offset), int(size, 16), sector_size, sectors
            )
        except ValueError as error:
            raise BootSettingInvalid(f"line {number} of fw_env.config: {line!r}") from error
        if not 2 * CRC_SIZE <= location.size <= SIZE_LIMIT:
            raise BootSettingInvalid(f"line {number} of fw_env.config: size {location.size:#x}")
        # What no system call takes.
        if "\0" in device or abs(location.offset) > OFFSET_LIMIT:
            raise BootSettingInvalid(f"line {number} of fw_env.config: {line!r}")
        if location.sector_size < 0 or location.sectors < 0:
            raise BootSettingInvalid(f"line {number} of fw_env.config: negative sectors")
        found.append(location)
    if not 1 <= len(found) <= 2:
        raise BootSettingInvalid(f"fw_env.config names {len(found)} copies, not one or two")
    return tuple(found)


class StoredEnvironment:
    """One or two copies on their media.

    Raises:
        BootSettingInvalid: two copies that do not go together.
    """

    def __init__(
        self,
        copies: Sequence[Medium],
        *,
        lock: Path | None = LOCK,
        image_lock: Path | None = None,
    ) -> None:
        """Args: `image_lock` is taken where `lock` cannot be: see `_opened_lock`."""
        self._copies = tuple(copies)
        self._lock = lock
        self._image_lock = image_lock
        self._header = CRC_SIZE + (len(self._copies) == 2)
        first, last = self._copies[0], self._copies[-1]
        if len(self._copies) == 2:
            if (first.location.size, first.scheme) != (last.location.size, last.scheme):
                raise BootSettingInvalid("the two copies differ in size or in kind of medium")
            apart = abs(first.location.offset - last.location.offset)
            if first.location.device == last.location.device and apart < first.location.size:
                raise BootSettingInvalid("the two copies overlap")

    @classmethod
    def configured(cls, config: Path = CONFIG, *, lock: Path | None = LOCK) -> StoredEnvironment:
        """Open what a fw_env.config describes.

        Raises:
            BootloaderMissing, EnvironmentFault: the file or a device is not there.
            BootSettingInvalid: the file makes no sense.
        """
        text = read_at(config, 0, 64 << 10).decode("utf-8", "surrogateescape")
        copies = [medium_at(location) for location in parse_config(text)]
        return cls(copies, lock=lock, image_lock=config)

    @property
    def in_place(self) -> bool:
        """Whether a write has no second copy behind it, and no rename."""
        only = self._copies[0]
        return len(self._copies) == 1 and not (isinstance(only, Plain) and only.whole_file_on_fat)

    def read(self) -> Environment:
        """Read all copies and choose as U-Boot does.

        Raises:
            EnvironmentInvalid: no copy has a right checksum.
            BootloaderMissing, EnvironmentFault: a copy cannot be read.
        """
        copies = [self._load(medium) for medium in self._copies]
        current = self._choose(copies)
        chosen = copies[current]
        assert chosen is not None
        warnings = tuple(
            f"copy {number} of the environment ({self._copies[number].location.device}) is torn or"
            " unreadable; the other one is in force"
            for number, copy in enumerate(copies)
            if copy is None
        )
        variables = {}
        for entry in _entries(chosen.body):
            name, separator, value = entry.partition("=")
            # U-Boot takes `name` and `name=` for "delete it" (lib/hashtable.c, himport_r).
            if separator and value:
                variables[name] = value
            else:
                variables.pop(name, None)
        return Environment(variables, current, warnings)

    def change(self, wanted: Callable[[Mapping[str, str]], Mapping[str, str]]) -> bool:
        """Set variables and leave all others as they are; return whether anything was written.

        Args:
            wanted: is given what is stored, and returns what is to be set.

        Raises:
            EnvironmentInvalid: no copy has a right checksum; nothing was written.
            BootloaderMissing, EnvironmentFault: it cannot be read or written, or it is full.
        """
        with self._locked():
            environment = self.read()
            changes = wanted(environment.variables)
            if all(environment.variables.get(name) == value for name, value in changes.items()):
                return False
            old = self._load(self._copies[environment.current])
            assert old is not None
            body = _body(_entries(old.body), changes, len(old.body), old.body[-1:])
            if len(self._copies) == 1:
                self._copies[0].write(_checksum(body) + body)
                return True
            # Always the older copy: the one in force stays whole until the new one is.
            older = self._copies[1 - environment.current]
            if older.scheme is Scheme.SERIAL:
                older.write(_checksum(body) + bytes([(old.flags + 1) & 0xFF]) + body)
            else:
                older.write(_checksum(body) + bytes([ACTIVE]) + body)
                self._copies[environment.current].clear_byte(CRC_SIZE)
            return True

    def weaknesses(self) -> tuple[str, ...]:
        """Return what a power cut can do to this set-up, in words; nothing where it is safe."""
        if not self.in_place:
            return ()
        only = self._copies[0]
        where = f"the environment on {only.location.device}"
        if not isinstance(only, Plain):
            return (f"{where} has one copy: a power cut while it is written loses all of it",)
        old = self._load(only)
        if old is not None:
            end = sum(len(entry.encode("utf-8", "surrogateescape")) + 1 for entry in _own(old.body))
            if CRC_SIZE + end <= SECTOR:
                return (
                    f"{where} has one copy; a change of caflip's variables alone stays within one"
                    " sector, any other change can be torn by a power cut",
                )
        return (f"{where} has one copy: a power cut while it is written can tear it",)

    def _load(self, medium: Medium) -> _Copy | None:
        """Read one copy; None if its checksum is wrong, or it cannot be read and is one of two."""
        try:
            raw = medium.read()
        except EnvironmentFault:
            if len(self._copies) == 1:
                raise
            return None  # as in env_import_redund: what cannot be read is not there
        if len(raw) != medium.location.size or raw[:CRC_SIZE] != _checksum(raw[self._header :]):
            return None
        return _Copy(raw, raw[CRC_SIZE], raw[self._header :])

    def _choose(self, copies: Sequence[_Copy | None]) -> int:
        valid = [number for number, copy in enumerate(copies) if copy is not None]
        if not valid:
            places = ", ".join(str(medium.location.device) for medium in self._copies)
            raise EnvironmentInvalid(
                f"no copy of U-Boot's environment has a right checksum: {places}"
            )
        if len(valid) == 1:
            return valid[0]
        first, second = (copy.flags if copy is not None else 0 for copy in copies)
        if self._copies[0].scheme is Scheme.SERIAL:
            # env/common.c, env_import_redund: the larger one, but 0 comes after 255.
            if (first, second) in ((255, 0), (0, 255)):
                return int(second == 0)
            return int(second > first)
        # env/flash.c, env_flash_init, and fw_env.c for what that leaves open.
        if (first, second) == (OBSOLETE, ACTIVE):
            return 1
        return int(second == 0xFF and first != 0xFF)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep fw_setenv out, and another of us."""
        if self._lock is None:
            yield
            return
        fd = self._opened_lock(self._lock)
        try:
            deadline = time.monotonic() + LOCK_TIMEOUT_S
            while True:
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except OSError as error:
                    if time.monotonic() > deadline:
                        raise EnvironmentBusy(f"{self._lock}: held by another program") from error
                    time.sleep(0.05)
            yield
        finally:
            os.close(fd)

    def _opened_lock(self, lock: Path) -> int:
        with os_errors(lock):
            try:
                return os.open(lock, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
            except (PermissionError, FileNotFoundError) as error:
                # Root's, as a rule. Images of other users are not for root's fw_setenv. Where
                # there is no folder for it, fw_setenv goes on without a lock, and so do we
                # as far as it is concerned.
                images = all(copy.location.device.is_file() for copy in self._copies)
                nowhere = isinstance(error, FileNotFoundError)
                if self._image_lock is None or not (images or nowhere):
                    raise
                return os.open(self._image_lock, os.O_RDONLY | os.O_CLOEXEC)


def _c_integer(text: str) -> int:
    """Read a number as C's `%lli` does: 0x10 is 16, 010 is 8, 10 is 10."""
    digits = text.lstrip("+-")
    octal = len(digits) > 1 and digits[0] == "0" and digits[1] not in "xX"
    return int(text, 8 if octal else 0)


def _checksum(body: bytes) -> bytes:
    return zlib.crc32(body).to_bytes(CRC_SIZE, sys.byteorder)


def _entries(body: bytes) -> list[str]:
    """Split up to the empty entry that ends the list."""
    end = body.find(b"\0\0")
    text = b"" if body.startswith(b"\0") else body if end < 0 else body[:end]
    return text.decode("utf-8", "surrogateescape").rstrip("\0").split("\0")


def _own(body: bytes) -> list[str]:
    """Return the entries up to the last one of `BOOT_…`."""
    entries = _entries(body)
    last = max((i for i, entry in enumerate(entries) if entry.startswith("BOOT_")), default=0)
    return entries[: last + 1]


def _body(entries: list[str], changes: Mapping[str, str], size: int, padding: bytes) -> bytes:
    """Return the data with changes put in.

    Order is kept, new names go where U-Boot's own sorting puts them, and the padding stays what it
    was: so a change of values of equal length changes the first sector and no other.
    """
    kept = [entry for entry in entries if entry]
    for name, value in changes.items():
        line = f"{name}={value}"
        at = next((i for i, entry in enumerate(kept) if entry.partition("=")[0] == name), None)
        if at is not None:
            kept = [
                entry for i, entry in enumerate(kept) if i == at or entry.partition("=")[0] != name
            ]
            kept[at] = line
        else:
            at = next((i for i, entry in enumerate(kept) if entry.partition("=")[0] > name), None)
            kept.insert(len(kept) if at is None else at, line)
    data = "".join(f"{entry}\0" for entry in kept).encode("utf-8", "surrogateescape") + b"\0"
    if len(data) > size:
        raise EnvironmentFault(
            f"U-Boot's environment is full: {len(data)} bytes for {size}", hint="remove variables"
        )
    return data + (padding if padding == b"\xff" else b"\0") * (size - len(data))

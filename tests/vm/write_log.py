# SPDX-License-Identifier: Apache-2.0
"""The writes of a disk in order, as QEMU's `blklogwrites` logs them, and crash states made of them.

The log has the format of dm-log-writes (drivers/md/dm-log-writes.c): a super block, then an entry
for each request in a sector of its own, with its data behind it. All numbers are little-endian.

A storage daemon exports a disk image by FUSE as a file; a loop device on that file takes a real
file system. No guest is needed.
"""

from __future__ import annotations

import enum
import random
import struct
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from tests.capabilities import require_loop_devices, require_tool
from tests.vm.volatile_disk import Loss, Tear, VolatileDisk
from tests.waiting import wait_until

SECTOR = 512
_SUPER = struct.Struct("<QQQI")  # magic, version, entries, bytes of a sector
_ENTRY = struct.Struct("<QQQQ")  # first sector, sectors, flags, bytes of a mark
_MAGIC = 0x6A736677736872
_VERSION = 1
_LOG_LENGTH = 1 << 30  # a hole: only what is logged takes room
_END_S = 30.0


class Flag(enum.IntFlag):
    """What an entry is; QEMU makes no marks."""

    FLUSH = 1
    FUA = 2
    DISCARD = 4


@dataclass(frozen=True, slots=True)
class Entry:
    """One request.

    Attributes:
        offset: on the disk, in bytes.
        length: bytes that it writes, or discards.
        data: empty where it discards or only flushes.
    """

    offset: int
    length: int
    flags: Flag
    data: bytes


def make_log(path: Path) -> None:
    """Make the file that QEMU writes a log to."""
    with path.open("wb") as file:
        file.truncate(_LOG_LENGTH)


def count_entries(log: Path) -> int:
    """Return how many requests are logged; right after each flush.

    Raises:
        ValueError: not a log.
    """
    with log.open("rb") as file:
        magic, version, count, sector = _SUPER.unpack(file.read(_SUPER.size))
    if (magic, version, sector) != (_MAGIC, _VERSION, SECTOR):
        raise ValueError(f"{log} is not a log of writes in sectors of {SECTOR} bytes")
    return int(count)


def read_entries(log: Path) -> list[Entry]:
    """Read a log.

    Raises:
        ValueError: not a log, or one that was cut.
    """
    entries = []
    with log.open("rb") as file:
        file.seek(SECTOR)
        for _ in range(count_entries(log)):
            first, sectors, bits, _ = _ENTRY.unpack_from(_exactly(file, SECTOR))
            flags, length = Flag(bits), sectors * SECTOR
            data = b"" if flags & Flag.DISCARD else _exactly(file, length)
            entries.append(Entry(first * SECTOR, length, flags, data))
    return entries


def _exactly(file: BinaryIO, length: int) -> bytes:
    data = file.read(length)
    if len(data) < length:
        raise ValueError("the log ends in the middle of an entry")
    return data


def crash(
    image: Path, entries: Sequence[Entry], tear: Tear, kept: float, chance: random.Random
) -> Loss:
    """Bring an image to a state in which a disk may be that lost its power after these requests.

    Args:
        image: as the disk was at the beginning; is changed.
        entries: what came until the power went.
        tear: see `VolatileDisk.cut`.
        kept: likewise.
        chance: likewise.
    """
    disk = VolatileDisk(image)
    try:
        for entry in entries:
            if entry.flags & Flag.FLUSH:
                disk.flush()
            if entry.length:
                data = entry.data or bytes(entry.length)
                disk.write(entry.offset, data, durable=bool(entry.flags & Flag.FUA))
        return disk.cut(tear, kept, chance)
    finally:
        disk.close()


@contextmanager
def logged(image: Path, folder: Path) -> Iterator[tuple[Path, Path]]:
    """Export an image so that all that is written to it is logged.

    Yields:
        The file to write to, and the log.
    """
    require_loop_devices()
    require_tool("qemu-storage-daemon", "fusermount3")
    log, export = folder / "log", folder / "export"
    make_log(log)
    export.touch()
    daemon = subprocess.Popen(
        [
            "qemu-storage-daemon",
            *("--blockdev", f"driver=file,node-name=image,filename={image}"),
            *("--blockdev", f"driver=file,node-name=log,filename={log}"),
            "--blockdev",
            f"driver=blklogwrites,node-name=disk,file=image,log=log,log-sector-size={SECTOR}",
            "--export",
            f"type=fuse,id=export,node-name=disk,mountpoint={export},writable=on",
        ]
    )
    try:
        wait_until(lambda: export.stat().st_size == image.stat().st_size)
        yield export, log
    finally:
        daemon.terminate()
        daemon.wait(_END_S)

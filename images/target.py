# SPDX-License-Identifier: Apache-2.0
"""Where an image is assembled: a block device, a region of a disk, or a file.

A target is its own journal: an interrupted run leaves what was right, and the next one finds it by
digest. So a new file grows under a hidden name that does not change from run to run, and is
renamed at the end; devices, regions and `in_place` files are written where they stand.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from fsprobe import ProbeError, probe
from fsprobe.device import Device
from images import linux
from images._native import _kernels
from images.durable import os_errors, sync_folder
from images.errors import DeviceFault, NotAccessible, TargetBusy, TargetTooSmall
from images.events import EventSink, SourceFailed
from images.flushing import Flusher
from images.index import Index
from images.parallel import Scratch
from images.reading import BLOCK, LostBlocks, read_into
from images.runs import FileRegion
from images.specs import TargetSpec

_ZEROS = memoryview(bytes(1 << 20))


class Target:
    """An open target. Positions are relative to the start of the image.

    Attributes:
        written: bytes that were written so far, zeros included.
        cloned: bytes that were shared with a seed instead of written.
    """

    def __init__(self, fd: int, spec: TargetSpec, *, block_device: bool, punch_holes: bool) -> None:
        self.fd = fd
        self.spec = spec
        self.block_device = block_device
        self.written = 0
        self.cloned = 0
        self._can_zero = punch_holes or block_device
        self._can_clone = not block_device
        self._lock = threading.Lock()
        self._flusher = Flusher(fd)
        self._old = Scratch(0)
        self._lost = LostBlocks()

    @property
    def name(self) -> str:
        """The path, with the offset where there is one."""
        return f"{self.spec.path}@{self.spec.offset}" if self.spec.offset else str(self.spec.path)

    def old_content(self, index: Index) -> FileRegion:
        """Return what there is to look through.

        A file is looked through whole. On a device, old content ends where its file system ends,
        as far as that is known, else with the image.
        """
        return FileRegion(self.fd, self.spec.offset, self._content_length(index), self._lost)

    def tell_of_lost(self, sink: EventSink) -> None:
        """Warn of old content that could not be read."""
        if lost := self._lost.starts:
            blocks = "1 block" if len(lost) == 1 else f"{len(lost)} blocks"
            text = f"{blocks} of {BLOCK} bytes cannot be read, the first at {min(lost)}"
            sink(SourceFailed(self.name, None, DeviceFault.code, f"{text}; written anew"))

    def write_lost(self, image_length: int) -> None:
        """Write the blocks of the image that could not be read, whole, so that they can be again.

        Else a write of a part of them would fail: the kernel reads the other part first.
        """
        room = self.spec.length
        with os_errors(self.name):
            for block in sorted(self._lost.starts):
                start = max(0, block - self.spec.offset)
                stop = block + BLOCK - self.spec.offset
                if start < image_length:
                    stop = stop if room is None else min(stop, room)
                    self._write(start, _ZEROS[: stop - start])

    def _content_length(self, index: Index) -> int:
        there = max(0, Device(self.fd).length - self.spec.offset)
        if self.spec.length is not None:
            there = min(there, self.spec.length)
        if not self.block_device and not self.spec.region:
            return there
        length = index.blob_length
        if self.spec.offset == 0:
            with suppress(ProbeError, OSError):
                found = probe(self.fd)
                length = max(length, (found and found.length) or 0)
        return min(there, length)

    def put(self, position: int, data: memoryview) -> None:
        """Write those 4 KiB blocks of `data` that differ from what is there."""
        with os_errors(self.name):
            self._put_differing(position, data)

    def put_zeros(self, position: int, length: int) -> None:
        """Make a range zero: by a hole or the device's own command where it has one."""
        first = -(-position // BLOCK) * BLOCK
        stop = (position + length) // BLOCK * BLOCK
        with os_errors(self.name):
            # Alignment counts on the device, not in the image.
            if self._can_zero and self.spec.offset % BLOCK == 0 and first < stop:
                self._can_zero = self._zero_range(self.spec.offset + first, stop - first)
                if self._can_zero:
                    self._account(stop - first)
                    self._write_zeros(position, first - position)
                    self._write_zeros(stop, position + length - stop)
                    return
            self._write_zeros(position, length)

    def clone(self, position: int, source_fd: int, source_offset: int, length: int) -> bool:
        """Share whole blocks with another file of the same file system.

        Returns:
            False where that cannot be done; nothing is changed then.
        """
        at = self.spec.offset + position
        if not self._can_clone or (at | source_offset | length) % BLOCK:
            return False
        with os_errors(self.name):
            if not linux.clone_range(self.fd, at, source_fd, source_offset, length):
                self._can_clone = False
                return False
        with self._lock:
            self.cloned += length
        return True

    def read(self, position: int, buffer: bytearray | memoryview, length: int) -> int:
        """Fill `buffer[:length]`; return how many bytes there were."""
        with os_errors(self.name):
            return read_into(self.fd, self.spec.offset + position, buffer, length)

    def settle(self, image_length: int) -> None:
        """Give a file its length, and bring everything to the medium."""
        with os_errors(self.name):
            if not (self.block_device or self.spec.region):
                os.ftruncate(self.fd, image_length)
            self._flusher.wait()
            os.fsync(self.fd)

    def close(self) -> None:
        """End what runs in the background; `fd` stays the caller's."""
        with suppress(OSError):  # of a run that failed already, or has settled
            self._flusher.wait()

    def _put_differing(self, position: int, data: memoryview) -> None:
        for start, stop in self._differing(position, data):
            self._write(position + start, data[start:stop])

    def _differing(self, position: int, data: memoryview) -> Iterator[tuple[int, int]]:
        """Yield the ranges of `data` that are to be written, on block borders of the device."""
        old = self._old.take(len(data))
        at = self.spec.offset + position
        there = read_into(self.fd, at, old, len(data))
        before, after = old[:there], data[:there]
        lead, start = BLOCK - at % BLOCK, 0
        while start < there:
            start = _kernels.find_block(before, after, lead, BLOCK, start, True)
            stop = _kernels.find_block(before, after, lead, BLOCK, start, False)
            if start < stop:
                yield start, stop
            start = stop
        if there < len(data):
            yield there, len(data)

    def _write(self, position: int, data: memoryview) -> None:
        at = self.spec.offset + position
        view = data
        while view:
            count = os.pwrite(self.fd, view, at)
            view, at = view[count:], at + count
        self._account(len(data))

    def _write_zeros(self, position: int, length: int) -> None:
        while length > 0:
            piece = _ZEROS[:length]
            self._put_differing(position, piece)
            position, length = position + len(piece), length - len(piece)

    def _zero_range(self, at: int, length: int) -> bool:
        if self.block_device:
            return linux.zero_out(self.fd, at, length)
        return linux.punch_hole(self.fd, at, length)

    def _account(self, length: int) -> None:
        with self._lock:
            self.written += length
        self._flusher.wrote(length)


@contextmanager
def open_target(
    spec: TargetSpec, image_length: int, *, punch_holes: bool = True
) -> Iterator[Target]:
    """Open a target for writing; when the block ends without an error the image is in place.

    Args:
        spec: what to write to.
        image_length: bytes of the image, compared with what there is before anything is written.
        punch_holes: make holes of zeros in regular files.

    Raises:
        TargetTooSmall: the image does not fit.
        TargetBusy: mounted, or in use by another program.
        NotAccessible: it cannot be opened, or is neither a file nor a block device.
    """
    mode = _mode_of(spec.path)
    if mode is not None and stat.S_ISBLK(mode):
        with _opened(spec.path, os.O_RDWR | os.O_EXCL) as fd:
            _check_length(Device(fd).length, spec, image_length)
            with closing(Target(fd, spec, block_device=True, punch_holes=False)) as target:
                yield target
    elif mode is not None and not stat.S_ISREG(mode):
        raise NotAccessible(
            f"{spec.path} is neither a regular file nor a block device",
            hint="write to standard output with `-` and let another program take it from there",
        )
    elif spec.region or (spec.in_place and mode is not None):
        with _opened(spec.path, os.O_RDWR) as fd:
            if spec.region:
                _check_length(os.fstat(fd).st_size, spec, image_length)
            with closing(Target(fd, spec, block_device=False, punch_holes=punch_holes)) as target:
                yield target
    else:
        part = _part_of(spec.path)
        permissions = 0o644 if mode is None else stat.S_IMODE(mode)
        with _opened(part, os.O_RDWR | os.O_CREAT) as fd:
            with closing(Target(fd, spec, block_device=False, punch_holes=punch_holes)) as target:
                yield target
            with os_errors(str(spec.path)):
                os.fchmod(fd, permissions)
                os.fsync(fd)
                part.rename(spec.path)
                sync_folder(spec.path.parent)


@contextmanager
def open_for_plan(spec: TargetSpec, image_length: int) -> Iterator[Target]:
    """Open a target for reading only, to plan against it; what does not exist yet is empty.

    Raises:
        TargetTooSmall, NotAccessible: as `open_target`.
    """
    mode = _mode_of(spec.path)
    block_device = mode is not None and stat.S_ISBLK(mode)
    path = spec.path
    if not (block_device or spec.region or spec.in_place):
        path = _part_of(spec.path)
    if not path.exists():
        path = Path(os.devnull)
    with os_errors(str(path)):
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if path == Path(os.devnull):
            os.close(fd)
            fd = os.memfd_create("nothing")
        elif block_device or spec.region:
            _check_length(Device(fd).length, spec, image_length)
        yield Target(fd, spec, block_device=block_device, punch_holes=False)
    finally:
        os.close(fd)


def _part_of(path: Path) -> Path:
    """Return where a new file grows; the same in every run, so that the next finds it."""
    return path.with_name(f".{path.name}.caflip-part")


@contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    try:
        fd = os.open(path, flags | os.O_CLOEXEC, 0o600)
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise TargetBusy(f"{path} is mounted or in use") from error
        raise NotAccessible(f"{path}: {error.strerror}") from error
    try:
        if not flags & os.O_EXCL:
            _lock(fd, path)
        yield fd
    finally:
        os.close(fd)


def _lock(fd: int, path: Path) -> None:
    """Keep a second caflip away; a block device's O_EXCL does that already."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise TargetBusy(
            f"another caflip writes to {path}", hint="wait until it has ended"
        ) from None


def _mode_of(path: Path) -> int | None:
    try:
        return path.stat().st_mode
    except FileNotFoundError:
        return None
    except OSError as error:
        raise NotAccessible(f"{path}: {error.strerror}") from error


def _check_length(there: int, spec: TargetSpec, image_length: int) -> None:
    room = max(0, there - spec.offset)
    if spec.length is not None:
        if spec.length > room:
            raise TargetTooSmall(
                f"{spec.path} has {room} bytes from {spec.offset} on, not {spec.length}"
            )
        room = spec.length
    if image_length > room:
        raise TargetTooSmall(f"the image has {image_length} bytes, {spec.path} room for {room}")

# SPDX-License-Identifier: Apache-2.0
"""Devices of the kernel's device mapper: parts of a guest's disks, sound or at fault in a range.

    error     what is read or written there fails: a medium that is worn out
    flakey    what is written there fails, is dropped, or comes out otherwise; reads go well

Sources: the kernel's Documentation/admin-guide/device-mapper, dm-flakey.rst and statistics.rst. The
kernel counts what reaches the range: a fault that was never met proves nothing.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace

SECTOR = 512
PREPARE = "export DM_DISABLE_UDEV=1\n"
"""Nobody else would make the nodes: guests have no udev."""

_EVERYWHERE = 1 << 60
_ALWAYS = "0 3600"
"""Seconds up, seconds down: dm-flakey is at fault from its first second on."""


@dataclass(frozen=True, slots=True)
class Part:
    """A device `/dev/mapper/NAME` on a part of a disk; in bytes, of whole sectors."""

    name: str
    disk: str
    length: int
    offset: int = 0

    def break_with(self, fault: Fault) -> str:
        """Return commands that put a fault into it while it is in use, and count what meets it."""
        start, stop = fault.start, min(fault.stop, self.length)
        lines = [
            self._linear(0, start),
            self._line(start, stop, fault.target),
            self._linear(stop, self.length),
        ]
        table = shlex.quote("\n".join(line for line in lines if line))
        region = f"{start // SECTOR}+{(stop - start) // SECTOR}"
        return (
            f"{fault.prepare}dmesg -c >/dev/null\n"
            f"dmsetup load {self.name} --table {table}\n"
            f"dmsetup suspend {self.name}\n"
            f"dmsetup resume {self.name}\n"
            f"dmsetup message {self.name} 0 @stats_create {region} /1 >/dev/null\n"
        )

    def tell_met(self) -> str:
        """Return commands that print what met the fault, for `Met.parse`."""
        node = f"$(dmsetup info -c --noheadings -o blkdevname {self.name})"
        return f"dmsetup message {self.name} 0 @stats_print 0\ndmesg | grep -w {node} || true\n"

    def sound(self) -> str:
        """Return its table without a fault."""
        return self._linear(0, self.length)

    def _linear(self, start: int, stop: int) -> str:
        return self._line(start, stop, "linear {device}")

    def _line(self, start: int, stop: int, target: str) -> str:
        if start >= stop:
            return ""
        device = f"{self.disk} {(self.offset + start) // SECTOR}"
        return f"{start // SECTOR} {(stop - start) // SECTOR} {target.format(device=device)}"


def create(parts: Sequence[Part]) -> str:
    """Return a command that makes devices with no fault."""
    devices = ";".join(f"{part.name},,,rw,{part.sound()}" for part in parts)
    return f"dmsetup create --concise {shlex.quote(devices)}\n"


def remove(parts: Sequence[Part]) -> str:
    """Return a command that removes devices, and what the kernel has cached of them."""
    return f"dmsetup remove {' '.join(part.name for part in parts)}\n"


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault of a part.

    Attributes:
        part: its name.
        target: of the device mapper, with its arguments.
        start, stop: bytes of the part where it is.
        prepare, undo: commands for what else the target needs.
    """

    part: str
    target: str
    start: int = 0
    stop: int = _EVERYWHERE
    prepare: str = ""
    undo: str = ""

    def within(self, start: int, stop: int) -> Fault:
        """Return the same fault in a range of bytes."""
        return replace(self, start=start, stop=stop)


def error(part: str) -> Fault:
    """Return the fault of a part that can neither be read nor written."""
    return Fault(part, "error")


def flakey(part: str, *features: str) -> Fault:
    """Return the fault of a part that does not write what it is told to."""
    return Fault(part, f"flakey {{device}} {_ALWAYS} {len(features)} {' '.join(features)}")


@dataclass(frozen=True, slots=True)
class Met:
    """What met a fault.

    Attributes:
        writes: how many the kernel has led into its range, and did not refuse.
        said: what the kernel's log says of the part: what it did refuse.
    """

    writes: int
    said: tuple[str, ...]

    @staticmethod
    def parse(lines: Sequence[str]) -> Met:
        """Read a range with the counters of /sys/block/*/stat, and lines of the log."""
        counters, *said = lines
        return Met(int(counters.split()[5]), tuple(said))

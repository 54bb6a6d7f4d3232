# SPDX-License-Identifier: Apache-2.0
"""What a guest's kernel writes to a FAT file system while `fat_steps` runs on it."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.capabilities import require_tool
from tests.vm import fat_steps
from tests.vm.architecture import Architecture
from tests.vm.cache import ROOT
from tests.vm.devices import direct, factory_disk
from tests.vm.disk import copy_disk
from tests.vm.fat_steps import AUTOBOOT, FILE_SYSTEM, MARK, SLOTS, Flaw, Subject, Told
from tests.vm.guest import Guest
from tests.vm.machine import LoggedDisk, started
from tests.vm.programs import run
from tests.vm.write_log import Entry, make_log, read_entries

STEPS = 24
KERNEL = "kernel.efi"
RUN = "cd /tmp && python3 -m tests.vm."
_STEPS_S = 300.0
_FOREIGN = (
    "4f8b6a2c19d04e7db3a58c61e0f7d294-6.1.0-18-amd64",
    "4f8b6a2c19d04e7db3a58c61e0f7d294-old",
)
"""Names that Debian gives: machine id and version."""


@dataclass(frozen=True, slots=True)
class Recording:
    """What was written, in order.

    Attributes:
        image: as it was before.
        entries: requests since.
        ends: how many entries there were when the n-th step of an environment had ended; the first
            is before all of them.
        told: what its backend said then.
        points: after how many entries the power may go: not before the first step, and not while
            the boot loader writes.
        files: what stands in each slot's file, by environment and slot.
    """

    image: Path
    entries: Sequence[Entry]
    ends: Mapping[Subject, Sequence[int]]
    told: Mapping[Subject, Sequence[Told]]
    points: Sequence[int]
    files: Mapping[tuple[Subject, str], bytes]


def record(
    folder: Path, flaws: Sequence[Flaw] = (Flaw.NONE,), steps: int = STEPS
) -> dict[Flaw, Recording]:
    """Let a guest take the steps once with each flaw, each on a disk of its own."""
    require_tool("mkfs.vfat", "mcopy")
    folder.mkdir()
    before = folder / "before"
    files = _make_file_system(before)
    root = factory_disk(folder, Architecture.ARM64, both=False)
    disks = []
    for flaw in flaws:
        disk = LoggedDisk(folder / f"{flaw.value}.image", folder / f"{flaw.value}.log")
        copy_disk(before, disk.image)
        make_log(disk.log)
        disks.append(disk)
    lines = []
    with started(direct(root, *disks), folder / "console") as machine:
        guest = machine.wait_up()
        put_program(guest, "fat_steps")
        for letter, flaw in zip("abcdef", flaws, strict=False):
            words = f"/dev/vd{letter} /tmp/{flaw.value} {steps} {flaw.value}"
            lines.append(guest.run(f"{RUN}fat_steps {words}", _STEPS_S).splitlines())
        machine.power_off(guest)
    root.unlink()
    return {
        flaw: _recording(before, disk.log, output, files)
        for flaw, disk, output in zip(flaws, disks, lines, strict=True)
    }


def put_program(guest: Guest, name: str) -> None:
    """Put a module of this folder into a guest, for `RUN`."""
    path = Path("tests/vm") / f"{name}.py"
    guest.put(f"/tmp/{path}", (ROOT / path).read_bytes())


def _recording(
    before: Path, log: Path, lines: Sequence[str], files: Mapping[tuple[Subject, str], bytes]
) -> Recording:
    entries = read_entries(log)
    log.unlink()
    ends: dict[Subject, list[int]] = {subject: [] for subject in Subject}
    told: dict[Subject, list[Told]] = {subject: [] for subject in Subject}
    points: list[int] = []
    start = 0
    for number, entry in enumerate(entries):
        if entry.offset != FILE_SYSTEM or not entry.length:
            continue
        mark = json.loads(entry.data.rstrip(b"\0"))
        if mark["step"] and not fat_steps.is_callers(mark["step"]):
            points += range(start, number + 2)
        start = number + 1
        ends[Subject[mark["subject"]]].append(start)
    for line in map(json.loads, lines):
        subject = Subject[line.pop("subject")]
        assert line.pop("step") == len(told[subject])
        told[subject].append(Told(**line))
    assert all(len(ends[subject]) == len(told[subject]) for subject in Subject)
    return Recording(before, entries, ends, told, points, files)


def _make_file_system(image: Path) -> dict[tuple[Subject, str], bytes]:
    """Make it; return what stands in each slot's file."""
    with image.open("wb") as file:
        file.truncate(FILE_SYSTEM + MARK)
    # -s 1: the smallest cluster, so that each sector of a file or folder may be anywhere.
    run("mkfs.vfat", "-F", "32", "-s", "1", image, str(FILE_SYSTEM // 1024))
    files: dict[tuple[Subject, str], bytes] = {}
    for subject in Subject:
        where = "" if subject is Subject.SMALL else f"{subject.value}/"
        if subject is Subject.AUTOBOOT:
            text = "[all]\ntryboot_a_b=1\nboot_partition=2\n[tryboot]\nboot_partition=3\n"
            _put(image, AUTOBOOT, text.encode())
            continue
        _make_folders(image, where)
        _put(image, f"{where}{KERNEL}", b"MZ")
        if subject is Subject.CROWDED:
            # What they take of the first sector of 16 places leaves an odd number of them.
            for name in _FOREIGN:
                _put(image, f"{where}loader/entries/{name}.conf", b"efi /" + KERNEL.encode())
            _put(image, f"{where}loader/entries/NOTE", b"")
        for slot in SLOTS:
            content = _entry(slot)
            path = f"{where}loader/entries/{slot}.conf"
            if subject is Subject.UNIFIED:
                content = _unified(slot)
                path = f"{where}EFI/Linux/{slot}.efi"
            _put(image, path, content)
            files[subject, slot] = content
    _put(image, "loader/loader.conf", b"timeout 0\n")
    return files


def _make_folders(image: Path, where: str) -> None:
    folders = ["loader", "loader/entries", "EFI", "EFI/Linux"]
    if where:
        run("mmd", "-i", image, f"::{where.rstrip('/')}")
    run("mmd", "-i", image, *(f"::{where}{name}" for name in folders))


def _put(image: Path, name: str, content: bytes) -> None:
    with TemporaryDirectory() as folder:
        source = Path(folder) / "file"
        source.write_bytes(content)
        run("mcopy", "-i", image, source, f"::{name}")


def _entry(slot: str) -> bytes:
    return f"title {slot}\nefi /{KERNEL}\noptions caflip.slot={slot}\n".encode()


def _unified(slot: str) -> bytes:
    """Return a PE file with a section .osrel and nothing else that anybody reads."""
    text = f"ID=caflip\nVERSION_ID={slot}\n".encode()
    header, coff = 64, 24
    at = header + coff + 40
    section = struct.pack("<8s4I16x", b".osrel", len(text), 0, len(text), at)
    pe = b"MZ".ljust(60, b"\0") + struct.pack("<I", header) + b"PE\0\0"
    body = pe + struct.pack("<HH12xHH", 0x8664, 1, 0, 0) + section + text
    return body.ljust(3000, slot[-1].encode())

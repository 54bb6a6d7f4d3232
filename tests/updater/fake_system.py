# SPDX-License-Identifier: Apache-2.0
"""A made-up machine: files of /proc and /sys in a folder, device nodes in a table."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from boot.bootloader import BootState
from updater.slots import Slot, SlotGroup
from updater.system import Node, Number, System

SECTOR = 512
MIB = 1 << 20


@dataclass
class FakeMachine:
    """Block devices, mounts, swap and a command line, written as the kernel shows them."""

    root: Path
    numbers: dict[str, Number] = field(default_factory=dict)
    mount_lines: list[str] = field(default_factory=list)
    held: set[str] = field(default_factory=set)
    loops: dict[str, Node] = field(default_factory=dict)

    def system(self) -> System:
        self.write("proc/self/mountinfo", "\n".join(self.mount_lines))
        nodes = {f"/dev/{name}": number for name, number in self.numbers.items()}
        return System(self.root, nodes, frozenset(self.held), self.loops)

    def write(self, name: str, text: str | int) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{text}\n")

    def link(self, name: str, target: str) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(self.root / target)

    def device(self, name: str, major: int, minor: int, *, folder: str, length: int) -> Number:
        number = Number(major, minor)
        self.numbers[name] = number
        self.write(f"{folder}/dev", str(number))
        self.write(f"{folder}/size", length // SECTOR)
        self.write(f"{folder}/ro", 0)
        self.write(f"{folder}/uevent", f"MAJOR={major}\nMINOR={minor}\nDEVNAME={name}")
        (self.root / folder / "slaves").mkdir(exist_ok=True)
        (self.root / folder / "holders").mkdir(exist_ok=True)
        self.link(f"sys/class/block/{name}", folder)
        self.link(f"sys/dev/block/{number}", folder)
        return number

    def disk(self, name: str, major: int, minor: int = 0, length: int = 1 << 30) -> Number:
        return self.device(name, major, minor, folder=f"sys/devices/{name}", length=length)

    def partition(
        self,
        disk: str,
        place: int,
        start: int,
        length: int,
        label: str | None = None,
        uuid: str | None = None,
    ) -> Number:
        name = f"{disk}p{place}" if disk[-1].isdigit() else f"{disk}{place}"
        major, minor = self.numbers[disk]
        folder = f"sys/devices/{disk}/{name}"
        number = self.device(name, major, minor + place, folder=folder, length=length)
        self.write(f"{folder}/partition", place)
        self.write(f"{folder}/start", start // SECTOR)
        uevent = (self.root / folder / "uevent").read_text() + f"PARTN={place}\n"
        uevent += f"PARTNAME={label}\n" if label is not None else ""
        uevent += f"PARTUUID={uuid}\n" if uuid is not None else ""
        self.write(f"{folder}/uevent", uevent)
        return number

    def mapping(self, name: str, minor: int, *slaves: str) -> Number:
        number = self.device(name, 253, minor, folder=f"sys/devices/{name}", length=1 << 28)
        for slave in slaves:
            below = (self.root / f"sys/class/block/{slave}").resolve().relative_to(self.root)
            self.link(f"sys/devices/{name}/slaves/{slave}", str(below))
            self.link(f"{below}/holders/{name}", f"sys/devices/{name}")
        return number

    def loop(self, minor: int, backing: str, offset: int = 0, length: int = 1 << 28) -> Number:
        name = f"loop{minor}"
        number = self.device(name, 7, minor, folder=f"sys/devices/{name}", length=length)
        self.write(f"sys/devices/{name}/loop/backing_file", backing)
        self.write(f"sys/devices/{name}/loop/offset", offset)
        return number

    def mount(
        self,
        number: Number | None,
        point: str,
        *,
        kind: str = "ext4",
        source: str = "none",
        options: str = "rw",
        read_only: bool = False,
    ) -> None:
        shown = "0:77" if number is None else str(number)
        mode = "ro" if read_only else "rw"
        self.mount_lines.append(
            f"{30 + len(self.mount_lines)} 1 {shown} / {point} {mode},relatime shared:1 - "
            f"{kind} {source} {options}"
        )

    def command_line(self, text: str) -> None:
        self.write("proc/cmdline", text)

    def slot(self, name: str, node: str, *, slot_class: str = "rootfs") -> Slot:
        size = int((self.root / f"sys/class/block/{node}/size").read_text()) * SECTOR
        return Slot(name, slot_class, Path(f"/dev/{node}"), 0, size, number=self.numbers[node])


def usual(root: Path) -> FakeMachine:
    """Return a device with two slots and data on one disk; nothing is mounted yet."""
    machine = FakeMachine(root)
    machine.disk("vda", 254)
    machine.partition("vda", 1, 1 * MIB, 63 * MIB, "boot", "aaaaaaaa-0000-0000-0000-000000000001")
    machine.partition("vda", 2, 64 * MIB, 256 * MIB, "root-a")
    machine.partition("vda", 3, 320 * MIB, 256 * MIB, "root-b")
    machine.partition("vda", 4, 576 * MIB, 256 * MIB, "data")
    machine.command_line("quiet")
    return machine


def groups(machine: FakeMachine, a: str = "vda2", b: str = "vda3") -> tuple[SlotGroup, SlotGroup]:
    return (
        SlotGroup("A", {"rootfs": machine.slot("a", a)}),
        SlotGroup("B", {"rootfs": machine.slot("b", b)}),
    )


@dataclass
class FakeBootloader:
    """Knows which slot runs, or not."""

    told: str | None = None
    kind: str = "fake"
    counts: bool = True
    slots: tuple[str, ...] = ("A", "B")

    def running(self) -> str | None:
        return self.told

    def read(self) -> BootState:
        raise NotImplementedError

    def set_primary(self, slot: str, tries: int) -> None:
        raise NotImplementedError

    def mark_good(self, slot: str) -> None:
        raise NotImplementedError

    def mark_bad(self, slot: str) -> None:
        raise NotImplementedError

    def reboot_argument(self) -> str | None:
        return None

    def weaknesses(self) -> tuple[str, ...]:
        return ()

# SPDX-License-Identifier: Apache-2.0
"""Every bootloader's environment on files below `env`: slots A and B good, A first."""

from __future__ import annotations

import struct
import sys
import uuid
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from boot import uefi
from boot.barebox import UNCOUNTED, Barebox
from boot.bootloader import Bootloader
from boot.efivars import GLOBAL, EfiVariables
from boot.grub import Grub, create_environment
from boot.load_option import Partition
from boot.media import Location, Plain
from boot.raspberrypi import RaspberryPi
from boot.systemd_boot import SystemdBoot
from boot.uboot import UBoot
from boot.uboot_environment import StoredEnvironment

SLOTS = ("A", "B")
TRIES = 3
"""Of a new slot; the configuration's default."""
ENVIRONMENT = 4096
NOWHERE = Path("/dev/null")

STRIDE = 64
VARIABLES = {
    "A.remaining_attempts": 0,
    "A.priority": 4,
    "B.remaining_attempts": 8,
    "B.priority": 12,
}


@dataclass(frozen=True, slots=True)
class Loader:
    """One kind of bootloader, and how its environment is kept.

    Attributes:
        name: in the table; there are two ways to keep U-Boot's environment.
        prepare: makes the environment in the folder `env`, which is there.
        open: the backend on the device's folder.
        variables: folder below the device's that holds firmware variables.
        start: what bootloader and firmware write when they start slot B for its first try.
        doubtful: a cut while the slot is made primary may look like a trial that failed, and the
            release waits its time: nothing counts tries.
    """

    name: str
    prepare: Callable[[Path], None]
    open: Callable[[Path], Bootloader]
    start: Callable[[Path], None]
    variables: str | None = None
    doubtful: bool = False


def _uboot(copies: int) -> Callable[[Path], Bootloader]:
    def opened(folder: Path) -> Bootloader:
        places = [Plain(Location(folder / f"env/copy-{n}", 0, ENVIRONMENT)) for n in range(copies)]
        stored = StoredEnvironment(places, lock=None)
        return UBoot(SLOTS, command_line=NOWHERE, environment=stored)

    return opened


def _uboot_environment(copies: int) -> Callable[[Path], None]:
    def prepare(env: Path) -> None:
        text = b"BOOT_A_LEFT=3\0BOOT_A_OK=1\0BOOT_B_LEFT=3\0BOOT_B_OK=1\0BOOT_ORDER=A B\0"
        for number in range(copies):
            flags = bytes([copies - number]) if copies == 2 else b""
            body = text.ljust(ENVIRONMENT - 4 - len(flags), b"\0")
            checksum = zlib.crc32(body).to_bytes(4, sys.byteorder)
            (env / f"copy-{number}").write_bytes(checksum + flags + body)

    return prepare


def _grub(folder: Path) -> Bootloader:
    return Grub(folder / "env/grubenv", SLOTS, NOWHERE)


def _grub_environment(env: Path) -> None:
    create_environment(env / "grubenv", SLOTS, "A", good=["B"])


def _systemd_boot(folder: Path) -> Bootloader:
    return SystemdBoot(folder / "env", SLOTS, folder / "efivars")


def _systemd_boot_environment(env: Path) -> None:
    (env / "loader/entries").mkdir(parents=True)
    (env.parent / "efivars").mkdir()
    (env / "kernel.efi").write_bytes(b"MZ")
    for name in SLOTS:
        (env / f"loader/entries/{name}.conf").write_text(f"title {name}\nefi /kernel.efi\n")
    _systemd_boot(env.parent).mark_good("A")


def _uefi(folder: Path) -> Bootloader:
    return uefi.Uefi(SLOTS, folder / "efivars")


def _uefi_environment(env: Path) -> None:
    efivars = env.parent / "efivars"
    efivars.mkdir()
    partition = Partition(1, 2048, 65536, uuid.UUID(int=0xCA5F))
    numbers = [uefi.create_entry(n, f"/EFI/{n}.efi", partition, efivars=efivars) for n in SLOTS]
    EfiVariables(efivars).write("BootOrder", GLOBAL, struct.pack("<2H", *numbers))


def _raspberrypi(folder: Path) -> Bootloader:
    return RaspberryPi(
        SLOTS,
        partitions={"A": 2, "B": 3},
        autoboot=folder / "env/autoboot.txt",
        device_tree=folder / "no-device-tree",
        boot_id=folder / "boot-id",
        command_line=NOWHERE,
    )


def _raspberrypi_environment(env: Path) -> None:
    text = "[all]\ntryboot_a_b=1\nboot_partition=2\n[tryboot]\nboot_partition=3\n"
    (env / "autoboot.txt").write_text(text)


def _barebox(folder: Path) -> Bootloader:
    place = folder / "env/state"
    return Barebox(SLOTS, device=place, variables=VARIABLES, stride=STRIDE, command_line=NOWHERE)


def _barebox_environment(env: Path) -> None:
    data = struct.pack("=4I", UNCOUNTED, 20, UNCOUNTED, 10)
    head = struct.pack("=IHHI", 0, 0, len(data), zlib.crc32(data))
    record = head + struct.pack("=I", zlib.crc32(head)) + data
    bucket = struct.pack("=II", 0x2354FDF3, len(record)) + record
    (env / "state").write_bytes(3 * bucket.ljust(STRIDE, b"\xff"))


def _counted(opened: Callable[[Path], Bootloader]) -> Callable[[Path], None]:
    """One try less is what the agent would write who allowed one less."""
    return lambda folder: opened(folder).set_primary("B", TRIES - 1)


def _systemd_boot_start(folder: Path) -> None:
    entry = folder / f"env/loader/entries/B+{TRIES}.conf"
    entry.rename(entry.with_name(f"B+{TRIES - 1}-1.conf"))


def _uefi_start(folder: Path) -> None:
    variables = EfiVariables(folder / "efivars")
    following = variables.read("BootNext", GLOBAL)
    assert following is not None
    variables.write("BootCurrent", GLOBAL, following)
    variables.delete("BootNext", GLOBAL)


def _raspberrypi_start(folder: Path) -> None:
    """The flag is in the chip; nothing is written."""


LOADERS = (
    Loader(
        "U-Boot, two copies",
        _uboot_environment(2),
        _uboot(2),
        _counted(_uboot(2)),
    ),
    Loader(
        "U-Boot, one copy",
        _uboot_environment(1),
        _uboot(1),
        _counted(_uboot(1)),
    ),
    Loader("GRUB", _grub_environment, _grub, _counted(_grub)),
    Loader(
        "systemd-boot",
        _systemd_boot_environment,
        _systemd_boot,
        _systemd_boot_start,
        variables="efivars",
    ),
    Loader(
        "UEFI",
        _uefi_environment,
        _uefi,
        _uefi_start,
        variables="efivars",
        doubtful=True,
    ),
    Loader(
        "Raspberry Pi",
        _raspberrypi_environment,
        _raspberrypi,
        _raspberrypi_start,
        doubtful=True,
    ),
    Loader("barebox", _barebox_environment, _barebox, _counted(_barebox)),
)

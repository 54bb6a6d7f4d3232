# SPDX-License-Identifier: Apache-2.0
"""U-Boot on an ARM board: Debian's build for QEMU, with caflip's boot script in the ESP.

Its own environment is in flash bank 1: one copy of 0x40000 bytes (CONFIG_ENV_SIZE of qemu_arm64).
caflip's variables are there, or on a partition of the disk, as boards do whose environment is on
eMMC.

Two things of the emulator are got round. Its flash takes no long writes (QEMU issue 2343: "Flash
buffer write timeout"), and Debian's kernels have no driver for it. So the file of the flash is at
the same time a second disk, by which both U-Boot and Linux write it. The flash itself is read when
QEMU starts: with the environment in flash each boot is a new start of QEMU.
"""

from __future__ import annotations

import enum
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.capabilities import require_tool
from tests.vm.architecture import Architecture
from tests.vm.cache import ROOT
from tests.vm.disk import SECTOR, Partition, put_files, write_region
from tests.vm.machine import Hardware
from tests.vm.programs import run

SCRIPT = ROOT / "boot/data/uboot.cmd"
ENVIRONMENT_LENGTH = 0x40000
PARTITION_ENVIRONMENT_LENGTH = 0x4000
VARIABLES = "BOOT_ORDER BOOT_A_OK BOOT_A_LEFT BOOT_B_OK BOOT_B_LEFT"

_FIRMWARE = Path("/usr/lib/u-boot/qemu_arm64/u-boot.bin")
_BANK_LENGTH = 64 << 20  # of the two flash banks of QEMU's virt board
_SECTORS = ENVIRONMENT_LENGTH // SECTOR
_PARTITION_SECTORS = PARTITION_ENVIRONMENT_LENGTH // SECTOR
_FIRST = Partition.ENV.offset // SECTOR


class Storage(enum.Enum):
    """Where caflip's variables are."""

    FLASH = "flash"
    PARTITION = "partition"


_SPECIFIC = {
    Storage.FLASH: {
        "caflip_save": f"env export -c -s {ENVIRONMENT_LENGTH:#x} ${{kernel_addr_r}}; "
        f"virtio write ${{kernel_addr_r}} 0 {_SECTORS:#x}",
    },
    Storage.PARTITION: {
        "caflip_load": f"nvme read ${{kernel_addr_r}} {_FIRST:#x} {_PARTITION_SECTORS:#x}; "
        f"env import -c ${{kernel_addr_r}} {PARTITION_ENVIRONMENT_LENGTH:#x} {VARIABLES}",
        "caflip_save": f"env export -c -s {PARTITION_ENVIRONMENT_LENGTH:#x} ${{kernel_addr_r}} "
        f"{VARIABLES}; nvme write ${{kernel_addr_r}} {_FIRST:#x} {_PARTITION_SECTORS:#x}",
    },
}
FW_ENV_CONFIG = {
    Storage.FLASH: f"/dev/vda 0x0 {ENVIRONMENT_LENGTH:#x}\n",
    Storage.PARTITION: f"/dev/disk/by-partlabel/env 0x0 {PARTITION_ENVIRONMENT_LENGTH:#x}\n",
}
"""For the guest: what to put on the data partition as `etc-caflip/fw_env.config`."""


@dataclass(frozen=True, slots=True)
class Board:
    """The files of a board.

    Attributes:
        bank: flash bank 1, with U-Boot's environment.
    """

    storage: Storage
    disk: Path
    firmware: Path
    bank: Path

    def hardware(self) -> Hardware:
        """Return the machine; with the environment in flash it ends at a reboot."""
        in_flash = self.storage is Storage.FLASH
        return Hardware(
            Architecture.ARM64,
            (self.disk, self.bank) if in_flash else (self.disk,),
            firmware=self.firmware,
            variables=self.bank,
            restarts=not in_flash,
        )


def make_board(
    folder: Path, disk: Path, storage: Storage, variables: Mapping[str, str] | None = None
) -> Board:
    """Put the boot script on a disk, and make the flash banks in a folder.

    Args:
        folder: where the banks go.
        disk: with a kernel in `/boot/vmlinuz` of each slot.
        storage: where caflip's variables are.
        variables: caflip's own at the beginning; none if not given, as on a new device.
    """
    require_tool("mkimage", "mkenvimage")
    script = folder / "boot.scr"
    run("mkimage", "-A", "arm64", "-T", "script", "-C", "none", "-d", SCRIPT, script)
    put_files(disk, {"boot.scr": script.read_bytes()})

    firmware = folder / "u-boot.bin"
    shutil.copyfile(_FIRMWARE, firmware)
    bank = folder / "bank1"
    for path in (firmware, bank):
        with path.open("ab") as file:
            file.truncate(_BANK_LENGTH)

    stored = {
        "bootdelay": "-2",
        "bootcmd": "pci enum; nvme scan; virtio scan; "
        "load nvme 0:1 ${scriptaddr} boot.scr; source ${scriptaddr}",
        "scriptaddr": "0x40200000",
        "fdt_addr_r": "0x40000000",
        "kernel_addr_r": "0x40400000",
        "caflip_disk": "nvme 0",
        "caflip_part_A": str(Partition.ROOT_A.number),
        "caflip_part_B": str(Partition.ROOT_B.number),
        "caflip_kernel": "/boot/vmlinuz",
        "caflip_args": "console=ttyAMA0 ro init=/usr/sbin/init panic=-1",
        **_SPECIFIC[storage],
    }
    own = variables or {}
    if storage is Storage.FLASH:
        stored |= own
    elif own:
        block = environment(own, PARTITION_ENVIRONMENT_LENGTH, folder)
        write_region(disk, Partition.ENV, block)
    with bank.open("r+b") as file:
        file.write(environment(stored, ENVIRONMENT_LENGTH, folder))
    return Board(storage, disk, firmware, bank)


def environment(variables: Mapping[str, str], length: int, folder: Path) -> bytes:
    """Return a stored environment, made by U-Boot's own tool."""
    path = folder / "environment"
    text = "".join(f"{name}={value}\n" for name, value in variables.items())
    run("mkenvimage", "-s", str(length), "-p", "0", "-o", path, "-", text=text)
    return path.read_bytes()

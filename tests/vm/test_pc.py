# SPDX-License-Identifier: Apache-2.0
"""The whole way on a PC: GRUB by UEFI and BIOS, systemd-boot, and the firmware alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.vm.architecture import Architecture
from tests.vm.devices import factory_disk, kernels
from tests.vm.disk import listing
from tests.vm.firmware import bios_machine, uefi_machine
from tests.vm.grub import install_grub
from tests.vm.guest import Guest
from tests.vm.machine import started
from tests.vm.systemd_boot import install_systemd_boot
from tests.vm.uefi import boot_variables, install_kernels
from tests.vm.variables import value_of

pytestmark = [pytest.mark.vm, pytest.mark.timeout(900)]

GOOD_A = {"ORDER": "A B", "A_OK": "1", "A_LEFT": "0", "B_OK": "0", "B_LEFT": "0"}
BOOT = (
    "from pathlib import Path; from boot.grub import Grub; "
    "boot = Grub(Path('/efi/grub/grubenv'), ['A', 'B']); "
)
EFIVARS = "/sys/firmware/efi/efivars"
GLOBAL = "8be4df61-93ca-11d2-aa0d-00e098032b8c"


def slot(guest: Guest) -> str:
    """Tell the slot by the root that is mounted, and that the command line agrees."""
    words = guest.run("cat /etc/version /proc/cmdline").split()
    name = {"v1": "A", "v2": "B"}[words[0]]
    assert f"caflip.slot={name}" in words
    return name


@pytest.mark.parametrize("firmware", ["uefi", "bios"])
def test_grub_tries_a_slot_and_falls_back(firmware: str, tmp_path: Path) -> None:
    disk = factory_disk(tmp_path, Architecture.AMD64)
    install_grub(disk, GOOD_A)
    hardware = uefi_machine(tmp_path, disk) if firmware == "uefi" else bios_machine(disk)
    with started(hardware, tmp_path / "log") as machine:
        guest = machine.wait_up()
        assert slot(guest) == "A"
        guest.python(BOOT + "boot.set_primary('B', 1)")
        machine.cut()
    with started(hardware, tmp_path / "log-trial") as machine:
        assert slot(machine.wait_up()) == "B"
        machine.reset()
        guest = machine.wait_up()
        assert slot(guest) == "A"
        assert "B_LEFT=0" in guest.run("grub-editenv /efi/grub/grubenv list")


def test_systemd_boot_counts_down_and_falls_back(tmp_path: Path) -> None:
    disk = factory_disk(tmp_path, Architecture.AMD64)
    install_systemd_boot(
        disk,
        kernels(Architecture.AMD64),
        {"A": "a-slot.conf", "B": "b-slot+1.conf"},
    )
    with started(uefi_machine(tmp_path, disk), tmp_path / "log") as machine:
        guest = machine.wait_up()
        assert slot(guest) == "B"
        assert "b-slot+0-1.conf" in guest.run("ls /efi/loader/entries")
        guest = machine.reboot(guest)
        assert slot(guest) == "A"
        machine.power_off(guest)
    assert "loader/entries/b-slot+0-1.conf" in listing(disk)


def test_the_firmware_boots_the_next_slot_once(tmp_path: Path) -> None:
    disk = factory_disk(tmp_path, Architecture.AMD64)
    install_kernels(disk, kernels(Architecture.AMD64))
    hardware = uefi_machine(tmp_path, disk, boot_variables("AB"))
    with started(hardware, tmp_path / "log") as machine:
        guest = machine.wait_up()
        assert slot(guest) == "A"
        guest.run("efibootmgr --bootnext 000B")
        guest = machine.reboot(guest)
        assert slot(guest) == "B"
        guest = machine.reboot(guest)
        assert slot(guest) == "A"
        machine.power_off(guest)
    assert hardware.variables is not None
    assert value_of(hardware.variables, "BootNext") is None
    order = value_of(hardware.variables, "BootOrder")
    assert order is not None
    assert order[:4] == b"\x0a\0\x0b\0"

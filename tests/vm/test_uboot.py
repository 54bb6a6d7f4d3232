# SPDX-License-Identifier: Apache-2.0
"""The whole way on an ARM board: U-Boot, caflip's script, the kernel of a slot."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.vm.devices import uboot_device
from tests.vm.disk import Partition, write_region
from tests.vm.guest import Guest
from tests.vm.machine import started
from tests.vm.uboot import Storage

pytestmark = [pytest.mark.vm, pytest.mark.timeout(900)]

GOOD_A = {
    "BOOT_ORDER": "A B",
    "BOOT_A_OK": "1",
    "BOOT_A_LEFT": "3",
    "BOOT_B_OK": "0",
    "BOOT_B_LEFT": "0",
}
BOOT = "from boot.uboot import UBoot; boot = UBoot(['A', 'B']); "


def slot(guest: Guest) -> str:
    """Tell the slot by the root that is mounted, and that the command line agrees."""
    words = guest.run("cat /etc/version /proc/cmdline").split()
    name = {"v1": "A", "v2": "B"}[words[0]]
    assert f"caflip.slot={name}" in words
    return name


def test_fw_setenv_flips_the_slot_and_exhausted_tries_fall_back(tmp_path: Path) -> None:
    board = uboot_device(tmp_path, Storage.FLASH, variables=GOOD_A)
    seen = []
    for boot in range(4):
        with started(board.hardware(), tmp_path / f"log{boot}") as machine:
            guest = machine.wait_up()
            seen.append((slot(guest), guest.run("fw_printenv -n BOOT_B_LEFT").strip()))
            if boot == 0:
                guest.run("fw_setenv BOOT_B_LEFT 2; fw_setenv BOOT_ORDER 'B A'")
            guest.start("sync; reboot -f")
            machine.wait_end()
    assert seen == [("A", "0"), ("B", "1"), ("B", "0"), ("A", "0")]


def test_a_slot_on_trial_survives_only_when_it_is_marked_good(tmp_path: Path) -> None:
    board = uboot_device(tmp_path, Storage.PARTITION, variables=GOOD_A)
    with started(board.hardware(), tmp_path / "log") as machine:
        guest = machine.wait_up()
        assert slot(guest) == "A"
        guest.python(BOOT + "boot.set_primary('B', 1)")
        machine.reset()
        assert slot(machine.wait_up()) == "B"
        machine.reset()
        guest = machine.wait_up()
        assert slot(guest) == "A"
        guest.python(BOOT + "boot.set_primary('B', 1)")
        guest = machine.reboot(guest)
        guest.python(BOOT + "boot.mark_good('B'); assert boot.running() == 'B'")
        machine.cut()
    with started(board.hardware(), tmp_path / "log-good") as machine:
        guest = machine.wait_up()
        assert slot(guest) == "B"
        assert slot(machine.reboot(guest)) == "B"


def test_a_new_board_boots_and_an_empty_slot_is_passed_over(tmp_path: Path) -> None:
    board = uboot_device(tmp_path, Storage.PARTITION, both=False)
    with started(board.hardware(), tmp_path / "log") as machine:
        guest = machine.wait_up()
        assert slot(guest) == "A"
        assert guest.run("fw_printenv -n BOOT_A_LEFT") == "2\n"
        guest.python(BOOT + "boot.mark_good('A'); boot.set_primary('B', 3)")
        guest = machine.reboot(guest)
        assert slot(guest) == "A"
        machine.power_off(guest)
    write_region(board.disk, Partition.ENV, b"damaged")
    with started(board.hardware(), tmp_path / "log-damaged") as machine:
        assert slot(machine.wait_up()) == "A"

# SPDX-License-Identifier: Apache-2.0
"""The main job, booted: update over HTTP from a signed release, seeded from the running slot.

The version in a guest's root says which slot really runs; the bootloaders are real, and so is the
cut of the power.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.vm.architecture import Architecture
from tests.vm.channel import Channel, configuration, keyring_text, published, served
from tests.vm.deadline import Deadline
from tests.vm.devices import factory_disk, kernels, uboot_device
from tests.vm.disk import Partition, holds
from tests.vm.firmware import bios_machine, uefi_machine
from tests.vm.grub import install_grub
from tests.vm.guest import Guest
from tests.vm.machine import Hardware, Machine, started
from tests.vm.rootfs import Version
from tests.vm.systemd_boot import install_systemd_boot
from tests.vm.uboot import Storage
from tests.vm.uefi import boot_variables, install_kernels

pytestmark = [pytest.mark.vm, pytest.mark.timeout(1500)]

LONG_S = 600.0
GOOD_A = {"A_OK": "1", "A_LEFT": "0", "B_OK": "0", "B_LEFT": "0"}
ETC = "etc-caflip"


@dataclass(slots=True)
class Device:
    """A machine with its disk, before it is started."""

    hardware: Hardware
    disk: Path
    channel: Channel
    names: tuple[str, str]
    logs: Path
    starts: int = field(default=0)

    @contextmanager
    def started(self) -> Iterator[Machine]:
        """Switch it on."""
        self.starts += 1
        with started(self.hardware, self.logs / f"log{self.starts}") as machine:
            yield machine

    def holds(self, partition: Partition, version: Version) -> bool:
        return holds(self.disk, partition, self.channel.images[version])


def make(kind: str, folder: Path, channel: Channel, url: str) -> Device:
    """Make a device of one kind: v1 in slot A, which is good; nothing in slot B."""
    names, table = ("A", "B"), f'kind = "{kind.partition("-")[0]}"'
    if kind == "systemd-boot":
        names, table = ("a-slot", "b-slot"), 'kind = "systemd-boot"\nboot = "/efi"'
    elif kind == "uefi":
        names = ("slot A", "slot B")
    elif kind.startswith("grub"):
        table += '\nenvironment = "/efi/grub/grubenv"'
    data = {
        f"{ETC}/config.toml": configuration(channel, url, table, names),
        f"{ETC}/trusted.asc": keyring_text(channel),
    }
    if kind == "uboot":
        variables = {"BOOT_ORDER": "A B", **{f"BOOT_{k}": v for k, v in GOOD_A.items()}}
        board = uboot_device(folder, Storage.PARTITION, both=False, data=data, variables=variables)
        return Device(board.hardware(), board.disk, channel, names, folder)
    disk = factory_disk(folder, Architecture.AMD64, both=False, data=data)
    if kind.startswith("grub"):
        install_grub(disk, {"ORDER": "A", **GOOD_A})
        hardware = bios_machine(disk) if kind == "grub-bios" else uefi_machine(folder, disk)
    elif kind == "systemd-boot":
        entries = {"A": "a-slot.conf", "B": "b-slot+0.conf"}
        install_systemd_boot(disk, kernels(Architecture.AMD64), entries)
        hardware = uefi_machine(folder, disk)
    else:
        install_kernels(disk, kernels(Architecture.AMD64))
        hardware = uefi_machine(folder, disk, boot_variables("A"))
    return Device(hardware, disk, channel, names, folder)


@pytest.fixture
def arm_channel() -> Channel:
    return published(Architecture.ARM64)


def caflip(guest: Guest, command: str, status: int = 0) -> dict[str, Any]:
    """Run a verb in the guest; return its last JSON line."""
    done = guest.attempt(f"caflip {command} --json", LONG_S)
    assert done.status == status, done.output[-2000:]
    last = json.loads(done.output.splitlines()[-1])
    assert isinstance(last, dict)
    return last


def version(guest: Guest) -> str:
    return guest.run("cat /etc/version").strip()


def slots(status: dict[str, Any]) -> dict[str, str]:
    return {slot["boot"]: slot["boot_state"] for slot in status["slots"]}


@pytest.mark.parametrize("kind", ["uboot", "grub-uefi", "grub-bios", "systemd-boot", "uefi"])
def test_a_trial_falls_back_and_says_why_and_a_healthy_one_stays(kind: str, tmp_path: Path) -> None:
    channel = published(Architecture.ARM64 if kind == "uboot" else Architecture.AMD64)
    with served(channel.site.folder) as url:
        device = make(kind, tmp_path, channel, url)
        a, b = device.names
        with device.started() as machine:
            guest = machine.wait_up()
            assert version(guest) == "v1"
            report = caflip(guest, "update")
            (done,) = report["images"]
            assert (report["outcome"], report["slot"]) == ("activated, boots next", b)
            assert done["bytes_fetched"] < done["image_bytes"] // 10
            assert done["sources"]["seed"]["bytes"] > done["image_bytes"] // 4

            # Nobody marks slot B good: its tries are used up.
            guest = machine.reboot(guest)
            tries = 0
            while version(guest) == "v2":
                tries += 1
                guest = machine.reboot(guest)
            assert tries == (1 if kind == "uefi" else 2)
            fallen = caflip(guest, "health")
            assert (fallen["verdict"], fallen["fell_back_from"]) == ("fell back", b)
            if kind == "uboot":
                assert slots(caflip(guest, "status")) == {a: "good", b: "bad"}
                assert caflip(guest, "update", 65)["code"] == "release.given-up"

            # By hand it is tried again: all of it is there, and nothing is written.
            (again,) = caflip(guest, "update --retry")["images"]
            assert (again["bytes_written"], again["bytes_fetched"]) == (0, 0)
            guest = machine.reboot(guest)
            assert version(guest) == "v2"
            assert caflip(guest, "health")["verdict"] == "proved good"
            guest = machine.reboot(guest)
            assert version(guest) == "v2"
            if kind == "uboot":
                assert slots(caflip(guest, "status")) == {a: "good", b: "good"}
                assert caflip(guest, "update", 3)["outcome"] == "nothing to do"
            machine.power_off(guest)
        assert device.holds(Partition.ROOT_A, Version.V1)
        assert device.holds(Partition.ROOT_B, Version.V2)


def test_a_sick_system_marks_itself_bad_and_the_old_one_boots(
    tmp_path: Path, arm_channel: Channel
) -> None:
    with served(arm_channel.site.folder) as url:
        device = make("uboot", tmp_path, arm_channel, url)
        with device.started() as machine:
            guest = machine.wait_up()
            caflip(guest, "update")
            guest = machine.reboot(guest)
            assert version(guest) == "v2"
            guest.run("touch /data/sick")
            assert caflip(guest, "health", 65)["code"] == "agent.unhealthy"
            guest = machine.reboot(guest)
            assert version(guest) == "v1"
            assert slots(caflip(guest, "status"))["B"] == "bad"


CUTS = {
    "assembling": r'"phase": "assemble"',
    "settling": r'"phase": "verify"',
    "recording": r'"step": "record"',
    "activated": r'"outcome": "activated',
}


def test_the_power_is_cut_and_the_next_run_finishes_and_fetches_nothing_twice(
    tmp_path: Path, arm_channel: Channel
) -> None:
    with served(arm_channel.site.folder) as url:
        device = make("uboot", tmp_path, arm_channel, url)
        for place, pattern in CUTS.items():
            with device.started() as machine:
                guest = machine.wait_up()
                assert version(guest) == "v1", place
                # To the console without a buffer between: what is seen has happened.
                guest.start("caflip update --json >/dev/console 2>&1")
                machine.console.wait_for(pattern, Deadline(LONG_S))
                machine.cut()
            if place != "activated":
                assert device.holds(Partition.ROOT_A, Version.V1)
        with device.started() as machine:
            guest = machine.wait_up()
            if version(guest) == "v1":  # the cut came before the flip was on the medium
                finished = caflip(guest, "update")
                assert [image["bytes_fetched"] for image in finished["images"]] == [0]
                guest = machine.reboot(guest)
            assert version(guest) == "v2"
            assert caflip(guest, "health")["verdict"] == "proved good"
            machine.power_off(guest)
        assert device.holds(Partition.ROOT_B, Version.V2)


def test_faults_of_the_device_and_the_network(tmp_path: Path, arm_channel: Channel) -> None:
    with served(arm_channel.site.folder) as url:
        device = make("uboot", tmp_path, arm_channel, url)
        with device.started() as machine:
            guest = machine.wait_up()

            # A disk for the state that is full, or cannot be written at all.
            guest.run("mkdir /tmp/full; mount -t tmpfs -o size=64k tmpfs /tmp/full")
            guest.run("dd if=/dev/zero of=/tmp/full/fill bs=1k 2>/dev/null || true")
            guest.run(
                "cd /etc/caflip; sed '/^\\[update\\]/i [state]\\nfolder = \"/tmp/full/state\"' "
                "config.toml >full.toml"
            )
            full = caflip(guest, "update --config=/etc/caflip/full.toml", 78)
            assert full["code"] == "image.no-space"
            assert slots(caflip(guest, "status"))["A"] == "good"

            # A clock that is wrong by decades: said, and no reason not to update.
            guest.run("date -s '1971-01-01 00:00:00'")
            codes = guest.run("caflip update --dry-run --json", LONG_S)
            assert "agent.clock" in codes
            assert "cannot be judged" in codes
            guest.run("date -s '2026-12-01 00:00:00'")

            # The network goes away in mid-update, for longer than a connection lives quietly.
            guest.start("caflip update --json >/dev/console 2>&1; echo @@ENDED $? >/dev/console")
            machine.console.wait_for(r'"phase": "check target"', Deadline(LONG_S))
            machine.connect_network(False)
            guest.run("sleep 20", 60)
            machine.connect_network(True)
            ended = machine.console.wait_for(r"@@ENDED (\d+)", Deadline(LONG_S))
            if ended[1] == "75":  # the deadline came first: the same command goes on
                caflip(guest, "update")
            else:
                assert ended[1] == "0"
            guest = machine.reboot(guest)
            assert version(guest) == "v2"

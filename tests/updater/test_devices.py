# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import shutil
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.capabilities import require_loop_devices, require_module, require_tool
from tests.loops import mounted, run
from tests.updater.disks import (
    GPT,
    LABEL_A,
    LABEL_B,
    MBR,
    SIGNATURE,
    UUID_A,
    UUID_B,
    make_disk,
    partitioned,
)
from tests.updater.fake_system import MIB, FakeMachine, usual
from updater import hotplug
from updater.device_names import DeviceName, parse_device_name
from updater.devices import find_slot, numbers_of
from updater.errors import ConfigInvalid, SlotActive, SlotMissing
from updater.slots import Slot, refuse_active
from updater.system import System


@pytest.fixture
def machine(tmp_path: Path) -> FakeMachine:
    return usual(tmp_path)


def name(text: str) -> DeviceName:
    return parse_device_name(text, Path("/"))


def found(machine: FakeMachine, text: str) -> Slot:
    return find_slot("x", "rootfs", name(text), system=machine.system())


def test_a_label_is_found_with_the_facts_of_its_partition(machine: FakeMachine) -> None:
    machine.write("sys/devices/vda/vda3/ro", 1)
    assert found(machine, "PARTLABEL=root-b") == Slot(
        "x",
        "rootfs",
        Path("/dev/vda3"),
        0,
        256 * MIB,
        number=machine.numbers["vda3"],
        read_only=True,
    )


def test_a_uuid_that_the_kernel_tells_is_found(machine: FakeMachine) -> None:
    slot = found(machine, "PARTUUID=AAAAAAAA-0000-0000-0000-000000000001")
    assert slot.path == Path("/dev/vda1")


def test_a_link_is_followed(machine: FakeMachine) -> None:
    machine.link("dev/disk/by-id/thing", "dev/vda2")
    (machine.root / "dev/vda2").touch()
    assert found(machine, "/dev/disk/by-id/thing").number == machine.numbers["vda2"]


@pytest.mark.parametrize("text", ["PARTLABEL=nothing", "/dev/nothing", "/nothing.img"])
def test_what_is_not_there_is_missing(text: str, machine: FakeMachine) -> None:
    with pytest.raises(SlotMissing, match=f"slot x: there is no {text}$"):
        found(machine, text)


def test_a_node_of_another_number_is_not_the_partition(machine: FakeMachine) -> None:
    machine.numbers["vda3"] = machine.numbers["vda4"]
    with pytest.raises(SlotMissing):
        found(machine, "PARTLABEL=root-b")


def test_one_label_on_two_partitions_is_refused_and_both_are_named(machine: FakeMachine) -> None:
    machine.disk("sda", 8)
    machine.partition("sda", 1, MIB, MIB, "root-b")
    with pytest.raises(ConfigInvalid, match="PARTLABEL=root-b fits /dev/sda1 and /dev/vda3"):
        found(machine, "PARTLABEL=root-b")
    machine.partition("vda", 5, 900 * MIB, MIB, "data")
    with pytest.raises(ConfigInvalid, match="fits /dev/vda4 and /dev/vda5"):
        found(machine, "PARTLABEL=data")


def test_the_disk_of_the_running_root_decides(machine: FakeMachine) -> None:
    machine.disk("sda", 8)
    machine.partition("sda", 1, MIB, MIB, "root-b")
    machine.mapping("dm-0", 0, "vda2")
    machine.mount(machine.numbers["dm-0"], "/")
    assert found(machine, "PARTLABEL=root-b").path == Path("/dev/vda3")
    assert numbers_of(name("PARTLABEL=root-b"), machine.system()) == (machine.numbers["vda3"],)
    machine.partition("vda", 5, 900 * MIB, MIB, "root-b")
    with pytest.raises(ConfigInvalid, match="/dev/vda3 and /dev/vda5"):
        found(machine, "PARTLABEL=root-b")


def test_links_of_udev_help_where_the_kernel_tells_nothing(machine: FakeMachine) -> None:
    machine.numbers["mapper/x"] = machine.disk("dm-9", 253, 9, 4 * MIB)
    machine.write("dev/mapper/x", "")
    machine.link("dev/disk/by-partlabel/root\\x20c", "dev/mapper/x")
    assert found(machine, "PARTLABEL=root c").number == machine.numbers["dm-9"]


def test_a_file_is_a_slot_and_so_is_a_region_of_one(tmp_path: Path) -> None:
    image = tmp_path / "disk.img"
    image.write_bytes(bytes(4 * MIB))
    whole = find_slot("x", "rootfs", name(str(image)))
    assert whole == Slot("x", "rootfs", image, 0, 4 * MIB)
    part = find_slot("x", "rootfs", name(f"{image}@1M+3M"))
    assert part == Slot("x", "rootfs", image, MIB, 3 * MIB, is_region=True)
    with pytest.raises(SlotMissing, match="too few for"):
        find_slot("x", "rootfs", name(f"{image}@2M+3M"))
    image.write_bytes(b"")
    with pytest.raises(SlotMissing, match="has 0 bytes"):
        find_slot("x", "rootfs", name(str(image)))


def test_what_is_missing_is_told_with_what_there_is(machine: FakeMachine) -> None:
    with pytest.raises(SlotMissing) as caught:
        found(machine, "PARTLABEL=root-c")
    assert caught.value.hint == "there are boot, data, root-a, root-b"
    with pytest.raises(SlotMissing) as caught:
        found(machine, "PARTUUID=12345678-01")
    assert caught.value.hint == "there are aaaaaaaa-0000-0000-0000-000000000001"
    machine.disk("sda", 8)
    for place in range(1, 13):
        machine.partition("sda", place, place * MIB, MIB, f"x{place:02}")
    with pytest.raises(SlotMissing) as caught:
        found(machine, "PARTLABEL=root-c")
    assert str(caught.value.hint).endswith(
        ", root-b, x01, x02, x03, x04, x05, x06, x07, x08 and 4 more"
    )


def test_where_no_partition_has_a_name_that_is_told(tmp_path: Path) -> None:
    machine = FakeMachine(tmp_path)
    machine.disk("vda", 254)
    machine.partition("vda", 1, MIB, MIB)
    with pytest.raises(SlotMissing) as caught:
        found(machine, "PARTLABEL=root-c")
    assert caught.value.hint == "no partition here has a PARTLABEL that can be read"


def test_a_partition_of_one_disk_alone(machine: FakeMachine) -> None:
    machine.disk("sda", 8)
    machine.partition("sda", 1, MIB, MIB, "root-b")
    assert found(machine, "/dev/sda#PARTLABEL=root-b").path == Path("/dev/sda1")
    assert found(machine, "/dev/vda#PARTLABEL=root-b").path == Path("/dev/vda3")
    assert numbers_of(name("/dev/sda#PARTLABEL=root-b"), machine.system()) == (
        machine.numbers["sda1"],
    )
    with pytest.raises(SlotMissing) as caught:
        found(machine, "/dev/sda#PARTLABEL=root-a")
    assert caught.value.hint == "there are root-b"
    machine.partition("sda", 2, 2 * MIB, MIB, "root-b")
    with pytest.raises(ConfigInvalid, match="fits /dev/sda1 and /dev/sda2"):
        found(machine, "/dev/sda#PARTLABEL=root-b")


def test_a_partition_in_a_disk_image_is_a_region_of_it(tmp_path: Path) -> None:
    require_tool("sfdisk")
    image = make_disk(tmp_path / "disk.img", GPT)
    expected = Slot("x", "rootfs", image, 13 * MIB, 8 * MIB, is_region=True)
    for text in (f"PARTLABEL={LABEL_B}", f"PARTUUID={UUID_B.upper()}"):
        assert find_slot("x", "rootfs", name(f"{image}#{text}")) == expected
    with pytest.raises(SlotMissing, match=r"there is no .*#PARTLABEL=root-c$") as caught:
        find_slot("x", "rootfs", name(f"{image}#PARTLABEL=root-c"))
    assert caught.value.hint == f"there are first, {LABEL_A}, {LABEL_B}"
    for data, hint in ((b"", "no partition there has"), (None, "compare the configuration")):
        image.unlink() if data is None else image.write_bytes(data)
        with pytest.raises(SlotMissing) as caught:
            find_slot("x", "rootfs", name(f"{image}#PARTLABEL={LABEL_B}"))
        assert str(caught.value.hint).startswith(hint)


def test_a_label_that_stands_twice_in_an_image_is_refused(tmp_path: Path) -> None:
    require_tool("sfdisk")
    image = make_disk(tmp_path / "disk.img", GPT.replace(LABEL_A, LABEL_B))
    with pytest.raises(ConfigInvalid, match=r"fits partition 2 and partition 3$"):
        find_slot("x", "rootfs", name(f"{image}#PARTLABEL={LABEL_B}"))


def test_an_image_that_ends_within_the_partition_is_refused(tmp_path: Path) -> None:
    require_tool("sfdisk")
    image = make_disk(tmp_path / "disk.img", GPT)
    os.truncate(image, 20 * MIB)
    with pytest.raises(SlotMissing, match="too few for"):
        find_slot("x", "rootfs", name(f"{image}#PARTLABEL={LABEL_B}"))


# On this machine.


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    require_loop_devices()
    require_tool("sfdisk", "partx")
    with partitioned(make_disk(tmp_path / "disk.img", GPT)) as device:
        yield device


def real(text: str, wait_s: float = 0.0) -> Slot:
    return find_slot("x", "rootfs", name(text), wait_s)


@pytest.mark.root
def test_real_partitions_are_found_by_label_and_uuid(disk: Path) -> None:
    for text in (f"PARTLABEL={LABEL_A}", f"PARTUUID={UUID_A}", f"{disk}p2"):
        slot = real(text)
        assert slot.path == Path(f"{disk}p2")
        assert (slot.length, slot.sector_size, slot.is_region) == (8 * MIB, 512, False)
        number = os.stat(slot.path).st_rdev
        assert slot.number == (os.major(number), os.minor(number))
    assert real(f"PARTLABEL={LABEL_B}").path == Path(f"{disk}p3")


@pytest.mark.root
def test_a_copy_of_the_disk_makes_labels_and_uuids_ambiguous(disk: Path, tmp_path: Path) -> None:
    copy = shutil.copy(tmp_path / "disk.img", tmp_path / "copy.img")
    with partitioned(Path(copy)) as second:
        for text in (f"PARTLABEL={LABEL_B}", f"PARTUUID={UUID_B}"):
            with pytest.raises(ConfigInvalid) as caught:
                real(text)
            assert f"{disk}p3" in str(caught.value)
            assert f"{second}p3" in str(caught.value)
    assert real(f"PARTLABEL={LABEL_B}").path == Path(f"{disk}p3")


@pytest.mark.root
def test_a_mounted_partition_refuses_its_disk_and_its_region(disk: Path, tmp_path: Path) -> None:
    a, b = real(f"PARTLABEL={LABEL_A}"), real(f"PARTLABEL={LABEL_B}")
    run("mkfs.ext4", "-q", a.path)
    with mounted(a.path, tmp_path / "mnt"):
        for text in (str(disk), f"{disk}@5M+8M", f"{tmp_path}/disk.img", f"{a.path}"):
            with pytest.raises(SlotActive):
                refuse_active(real(text))
        refuse_active(b)
        refuse_active(real(f"{tmp_path}/disk.img@13M+8M"))
        refuse_active(real(f"{tmp_path}/disk.img#PARTLABEL={LABEL_B}"))
        with pytest.raises(SlotActive):
            refuse_active(real(f"{tmp_path}/disk.img#PARTLABEL={LABEL_A}"))
        assert real(f"{disk}#PARTLABEL={LABEL_B}").path == b.path


@pytest.mark.root
def test_a_partition_of_an_mbr_is_found_by_its_number(tmp_path: Path) -> None:
    require_loop_devices()
    require_module("parted")
    with partitioned(make_disk(tmp_path / "disk.img", MBR)) as device:
        assert real(f"PARTUUID={SIGNATURE.upper()}-05").path == Path(f"{device}p5")


@pytest.mark.root
def test_a_device_that_appears_while_it_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_loop_devices()
    require_tool("sfdisk", "partx")
    image = make_disk(tmp_path / "disk.img", GPT)
    listening, wait_on = threading.Event(), hotplug._wait_on

    def wait(listener: socket.socket, seconds: float) -> None:
        listening.set()
        wait_on(listener, seconds)

    # Only the event can be in time, and without udev it is the kernel's.
    monkeypatch.setattr(hotplug, "LOOK_AGAIN_S", 1000.0)
    monkeypatch.setattr(hotplug, "UDEV_CONTROL", tmp_path / "no udev")
    monkeypatch.setattr(hotplug, "_wait_on", wait)
    with ExitStack() as undo:

        def appear() -> None:
            assert listening.wait(30)
            undo.enter_context(partitioned(image))

        thread = threading.Thread(target=appear)
        thread.start()
        slot = real(f"PARTLABEL={LABEL_A}", 30)
        thread.join()
        assert slot.length == 8 * MIB


@pytest.mark.root
def test_a_device_that_does_not_appear_is_missing_at_the_deadline() -> None:
    with pytest.raises(SlotMissing, match=r"no PARTLABEL=nobody-has-this after 0\.05 s"):
        real("PARTLABEL=nobody-has-this", 0.05)


def test_a_file_is_not_waited_for(tmp_path: Path) -> None:
    with pytest.raises(SlotMissing, match=r"no /.*nothing$"):
        real(str(tmp_path / "nothing"), 1000)


def test_partitions_of_this_machine_can_be_listed() -> None:
    assert numbers_of(name("PARTLABEL=nobody-has-this"), System()) == ()

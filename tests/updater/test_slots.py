# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from images.errors import TargetBusy
from tests.capabilities import require_loop_devices, require_tool
from tests.loops import loop_device, mounted, run
from tests.updater.fake_system import MIB, FakeMachine, groups, usual
from updater.device_names import DeviceName, NamedBy
from updater.devices import find_slot
from updater.errors import SlotActive, SlotMissing
from updater.slots import Slot, SlotGroup, refuse_active
from updater.system import Node, System


@pytest.fixture
def machine(tmp_path: Path) -> FakeMachine:
    machine = usual(tmp_path)
    machine.mount(machine.numbers["vda2"], "/")
    return machine


def is_refused(machine: FakeMachine, slot: Slot, running: SlotGroup | None = None) -> bool:
    try:
        refuse_active(slot, running, machine.system())
    except SlotActive:
        return True
    return False


def region(machine: FakeMachine, node: str, offset: int, length: int) -> Slot:
    slot = machine.slot("x", node)
    return replace(slot, offset=offset, length=length, is_region=True)


def test_the_mounted_slot_is_refused_and_the_other_is_not(machine: FakeMachine) -> None:
    a, b = groups(machine)
    with pytest.raises(SlotActive, match=r"slot a \(/dev/vda2\) is in use: mounted on /"):
        refuse_active(a.slots["rootfs"], None, machine.system())
    refuse_active(b.slots["rootfs"], a, machine.system())


def test_a_mount_that_is_read_only_counts_too(machine: FakeMachine) -> None:
    machine.mount(machine.numbers["vda3"], "/mnt/other\\040slot", read_only=True)
    with pytest.raises(SlotActive, match="mounted on /mnt/other slot"):
        refuse_active(machine.slot("b", "vda3"), None, machine.system())


def test_the_whole_disk_is_refused_while_a_part_of_it_is_mounted(machine: FakeMachine) -> None:
    assert is_refused(machine, machine.slot("x", "vda"))
    machine.disk("vdb", 254, 16)
    assert not is_refused(machine, machine.slot("x", "vdb"))


def test_a_partition_is_refused_while_its_whole_disk_is_mounted(machine: FakeMachine) -> None:
    machine.disk("vdb", 254, 16)
    machine.partition("vdb", 1, MIB, MIB)
    machine.mount(machine.numbers["vdb"], "/mnt")
    assert is_refused(machine, machine.slot("x", "vdb1"))


@pytest.mark.parametrize(
    ("offset", "length", "refused"),
    [
        (64, 256, True),
        (100, 1, True),
        (319, 2, True),
        (63, 2, True),
        (0, 64, False),
        (320, 256, False),
    ],
)
def test_regions_of_the_disk_are_held_against_the_mounted_partition(
    offset: int, length: int, refused: bool, machine: FakeMachine
) -> None:
    slot = region(machine, "vda", offset * MIB, length * MIB)
    assert is_refused(machine, slot) is refused


def test_another_node_of_the_same_number_changes_nothing(machine: FakeMachine) -> None:
    machine.numbers["alias"] = machine.numbers["vda2"]
    slot = replace(machine.slot("x", "vda2"), path=Path("/dev/alias"))
    assert is_refused(machine, slot)


def test_swap_counts(machine: FakeMachine) -> None:
    machine.write("proc/swaps", "Filename Type Size Used Priority\n/dev/vda3 partition 1 0 -2")
    assert is_refused(machine, machine.slot("b", "vda3"))


def test_a_swap_file_counts(machine: FakeMachine) -> None:
    machine.write("data/swap", "x" * 4096)
    machine.write("proc/swaps", "Filename Type Size Used Priority\n/data/swap file 1 0 -2")
    slot = Slot("x", "rootfs", Path("/data/swap"), 0, 4096)
    assert is_refused(machine, slot)
    machine.write("data/other", "x" * 4096)
    assert not is_refused(machine, replace(slot, path=Path("/data/other")))


class TestWhatStandsOnASlotRefusesIt:
    def test_a_mounted_mapping(self, machine: FakeMachine) -> None:
        machine.mount(machine.mapping("dm-0", 0, "vda3"), "/mnt")
        assert is_refused(machine, machine.slot("b", "vda3"))

    def test_a_mounted_mapping_that_the_slot_itself_does_not_tell_of(
        self, machine: FakeMachine
    ) -> None:
        machine.mount(machine.mapping("dm-0", 0, "vda3"), "/mnt")
        (machine.root / "sys/devices/vda/vda3/holders/dm-0").unlink()
        with pytest.raises(SlotActive, match="mounted on /mnt"):
            refuse_active(machine.slot("b", "vda3"), None, machine.system())

    def test_a_mapping_that_nobody_uses(self, machine: FakeMachine) -> None:
        machine.mapping("dm-0", 0, "vda3")
        with pytest.raises(SlotActive, match="held by device 253:0"):
            refuse_active(machine.slot("b", "vda3"), None, machine.system())

    def test_a_mounted_loop_device(self, machine: FakeMachine) -> None:
        machine.mount(machine.loop(0, "/dev/vda3"), "/mnt")
        assert is_refused(machine, machine.slot("b", "vda3"))

    def test_a_mounted_loop_device_over_a_part_of_the_disk(self, machine: FakeMachine) -> None:
        machine.mount(machine.loop(0, "/dev/vda", 575 * MIB, 2 * MIB), "/mnt")
        assert is_refused(machine, machine.slot("b", "vda3"))

    def test_a_mapping_over_a_loop_device(self, machine: FakeMachine) -> None:
        machine.loop(0, "/dev/vda3")
        machine.mount(machine.mapping("dm-0", 0, "loop0"), "/mnt")
        assert is_refused(machine, machine.slot("b", "vda3"))

    def test_the_second_device_of_a_mounted_btrfs(self, machine: FakeMachine) -> None:
        machine.mount(None, "/mnt", kind="btrfs", source="/dev/vda4")
        for name in ("vda3", "vda4"):
            machine.link(f"sys/fs/btrfs/u-u-i-d/devices/{name}", f"sys/devices/vda/{name}")
        assert is_refused(machine, machine.slot("b", "vda3"))

    def test_a_mount_that_only_the_kernel_knows_of(self, machine: FakeMachine) -> None:
        machine.held.add("/dev/vda3")
        with pytest.raises(TargetBusy, match="does not give it away"):
            refuse_active(machine.slot("b", "vda3"), None, machine.system())


def test_a_loop_device_over_the_mounted_slot_is_refused(machine: FakeMachine) -> None:
    machine.loop(0, "/dev/vda2")
    assert is_refused(machine, machine.slot("x", "loop0"))


def test_a_mapping_over_the_mounted_slot_is_refused(machine: FakeMachine) -> None:
    machine.mapping("dm-0", 0, "vda2")
    assert is_refused(machine, machine.slot("x", "dm-0"))


def test_logical_volumes_of_one_partition_do_not_refuse_each_other(machine: FakeMachine) -> None:
    machine.mapping("dm-0", 0, "vda4")
    machine.mount(machine.mapping("dm-1", 1, "vda4"), "/mnt")
    assert not is_refused(machine, machine.slot("x", "dm-0"))
    assert is_refused(machine, machine.slot("x", "dm-1"))
    assert is_refused(machine, machine.slot("x", "vda4"))


def test_the_running_group_is_refused_also_where_nothing_is_mounted(machine: FakeMachine) -> None:
    machine.mount_lines.clear()
    a, b = groups(machine)
    with pytest.raises(SlotActive, match="is the one that runs: A"):
        refuse_active(a.slots["rootfs"], a, machine.system())
    assert not is_refused(machine, b.slots["rootfs"], a)
    assert is_refused(machine, region(machine, "vda", 319 * MIB, 2 * MIB), a)


def test_regions_of_one_file_are_held_against_each_other(machine: FakeMachine) -> None:
    machine.write("disk.img", "x")
    (machine.root / "link.img").symlink_to(machine.root / "disk.img")

    def slot(path: str, offset: int) -> Slot:
        return Slot("x", "rootfs", Path(path), offset * MIB, MIB, is_region=True)

    running = SlotGroup("A", {"rootfs": slot("/disk.img", 1)})
    for path in ("/disk.img", "/link.img"):
        assert is_refused(machine, slot(path, 1), running)
        assert not is_refused(machine, slot(path, 2), running)
        assert is_refused(machine, replace(slot(path, 0), length=MIB + 1), running)
        assert is_refused(machine, replace(slot(path, 0), is_region=False), running)


def test_a_loop_device_whose_file_is_gone_is_no_reason_to_fail(machine: FakeMachine) -> None:
    machine.mount(machine.loop(0, "/gone.img (deleted)"), "/mnt")
    assert not is_refused(machine, machine.slot("b", "vda3"))


def test_what_a_loop_device_shows_is_asked_of_the_kernel_and_not_of_a_path(
    machine: FakeMachine,
) -> None:
    def file(name: str) -> Slot:
        machine.write(name, "x" * 4096)
        return Slot("x", "rootfs", Path("/", name), 0, 4096)

    open_one, named_so, other = file("a.img"), file("b.img"), file("c.img")
    machine.mount(machine.loop(0, "/b.img"), "/mnt")
    found = machine.system().node("/a.img")
    assert found is not None
    machine.loops["loop0"] = found
    assert is_refused(machine, open_one)
    assert is_refused(machine, named_so), "in doubt both are in use"
    assert not is_refused(machine, other)


def test_a_loop_device_over_a_device_whose_path_leads_nowhere(machine: FakeMachine) -> None:
    machine.mount(machine.loop(0, "/gone"), "/mnt")
    assert not is_refused(machine, machine.slot("b", "vda3"))
    machine.loops["loop0"] = Node(machine.numbers["vda3"], (0, 0), 0)
    assert is_refused(machine, machine.slot("b", "vda3"))


def test_a_read_only_slot_is_not_written_and_what_runs_is_said_first(machine: FakeMachine) -> None:
    a, b = (replace(group.slots["rootfs"], read_only=True) for group in groups(machine))
    with pytest.raises(SlotMissing, match=r"slot b \(/dev/vda3\) is read-only"):
        refuse_active(b, None, machine.system())
    assert is_refused(machine, a)


def test_tables_that_make_no_sense_are_passed_over(machine: FakeMachine) -> None:
    machine.mount_lines += ["", "x", "1 2 3 4 5 6 - ext4 y z", "a b c:d e f g - h i"]
    machine.write("proc/swaps", "Filename\n\n/dev/nothing")
    machine.write("sys/devices/vda/vda4/start", "much")
    (machine.root / "sys/dev/block/254:3").unlink()
    assert not is_refused(machine, machine.slot("b", "vda3"))


# On this machine.


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A loop device without partitions, of two regions of 16 MiB."""
    require_loop_devices()
    require_tool("mkfs.ext4")
    image = tmp_path / "disk.img"
    image.write_bytes(b"")
    os.truncate(image, 32 * MIB)
    with loop_device(image) as device:
        yield device


def real(path: Path | str, offset: int = 0, length: int | None = None) -> Slot:
    return find_slot("x", "rootfs", DeviceName(NamedBy.PATH, str(path), offset, length))


@pytest.mark.root
def test_a_real_device_is_refused_while_it_is_mounted(disk: Path, tmp_path: Path) -> None:
    run("mkfs.ext4", "-q", disk)
    slot = real(disk)
    refuse_active(slot)
    for options in ("rw", "ro"):
        with mounted(disk, tmp_path / "mnt") as folder:
            run("mount", "-o", f"remount,{options}", folder)
            with pytest.raises(SlotActive, match=f"mounted on {folder}"):
                refuse_active(slot)
    refuse_active(slot)


@pytest.mark.root
def test_a_link_and_a_second_node_are_the_same_device(disk: Path, tmp_path: Path) -> None:
    run("mkfs.ext4", "-q", disk)
    link, node = tmp_path / "link", tmp_path / "node"
    link.symlink_to(disk)
    os.mknod(node, 0o600 | 0o060000, os.stat(disk).st_rdev)
    with mounted(disk, tmp_path / "mnt"):
        for path in (link, node):
            with pytest.raises(SlotActive):
                refuse_active(real(path))


@pytest.mark.root
def test_a_loop_device_over_a_region_refuses_that_region_alone(disk: Path, tmp_path: Path) -> None:
    first = f"--sizelimit={16 * MIB}"
    with ExitStack() as undo:
        loop = Path(run("losetup", "--find", "--show", first, disk).strip())
        undo.callback(run, "losetup", "--detach", loop)
        run("mkfs.ext4", "-q", loop)
        undo.enter_context(mounted(loop, tmp_path / "mnt"))
        with pytest.raises(SlotActive):
            refuse_active(real(disk, 0, 16 * MIB))
        refuse_active(real(disk, 16 * MIB, 16 * MIB))
        with pytest.raises(SlotActive):
            refuse_active(real(disk))


@pytest.mark.root
def test_a_file_is_refused_while_a_loop_device_over_it_is_mounted(
    disk: Path, tmp_path: Path
) -> None:
    run("mkfs.ext4", "-q", disk)
    image = tmp_path / "disk.img"
    hard_link = tmp_path / "same.img"
    hard_link.hardlink_to(image)
    refuse_active(real(image))
    with mounted(disk, tmp_path / "mnt"):
        for path in (image, hard_link):
            with pytest.raises(SlotActive):
                refuse_active(real(path))


@pytest.mark.root
@pytest.mark.parametrize("instead", [False, True])
def test_a_mounted_file_is_refused_when_the_name_it_was_attached_by_is_gone(
    instead: bool, disk: Path, tmp_path: Path
) -> None:
    run("mkfs.ext4", "-q", disk)
    image, hard_link = tmp_path / "disk.img", tmp_path / "same.img"
    hard_link.hardlink_to(image)
    image.unlink()
    if instead:
        image.write_bytes(bytes(MIB))
    with mounted(disk, tmp_path / "mnt"), pytest.raises(SlotActive):
        refuse_active(real(hard_link))
    refuse_active(real(hard_link))


@pytest.mark.root
def test_the_kernel_tells_what_a_loop_device_shows(disk: Path, tmp_path: Path) -> None:
    found = (tmp_path / "disk.img").stat()
    told = System().loop_node(disk.name)
    assert told is not None
    assert (told.number, told.file) == (None, (found.st_dev, found.st_ino))
    with loop_device(disk) as over:
        told = System().loop_node(over.name)
        assert told is not None
        number = os.stat(disk).st_rdev
        assert told.number == (os.major(number), os.minor(number))
    assert System().loop_node("null") is None
    assert System().loop_node("nothing") is None


@pytest.mark.root
def test_a_device_that_the_kernel_has_read_only_is_refused(disk: Path) -> None:
    require_tool("blockdev")
    run("blockdev", "--setro", disk)
    slot = real(disk)  # it can still be a seed
    with pytest.raises(SlotMissing, match="is read-only"):
        refuse_active(slot)
    run("blockdev", "--setrw", disk)
    refuse_active(real(disk))


@pytest.mark.root
def test_a_mapping_over_a_device_holds_it(disk: Path) -> None:
    require_tool("dmsetup")
    if subprocess.run(["dmsetup", "version"], capture_output=True).returncode:
        pytest.skip("missing: the kernel's device mapper")
    name = f"caflip-test-{os.getpid()}"
    sectors = 16 * MIB // 512
    run("dmsetup", "create", name, "--table", f"0 {sectors} linear {disk} 0")
    try:
        with pytest.raises(SlotActive, match="held by device"):
            refuse_active(real(disk))
        mapping = real(f"/dev/mapper/{name}")
        refuse_active(mapping)
    finally:
        run("dmsetup", "remove", "--retry", name)
    refuse_active(real(disk))


@pytest.mark.root
def test_swap_on_a_device_holds_it(disk: Path) -> None:
    require_tool("mkswap")
    run("mkswap", disk)
    run("swapon", disk)
    try:
        with pytest.raises(SlotActive, match="in use: swap"):
            refuse_active(real(disk))
    finally:
        run("swapoff", disk)
    refuse_active(real(disk))


@pytest.mark.root
def test_a_mount_in_another_namespace_is_found(disk: Path, tmp_path: Path) -> None:
    require_tool("unshare")
    run("mkfs.ext4", "-q", disk)
    folder = tmp_path / "mnt"
    folder.mkdir()
    slot = real(disk)
    script = f"mount {disk} {folder} && echo mounted && read line"
    with subprocess.Popen(
        ["unshare", "--mount", "--propagation=private", "sh", "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as other:
        assert other.stdout is not None
        assert other.stdin is not None
        assert other.stdout.readline() == b"mounted\n"
        try:
            with pytest.raises(TargetBusy):
                refuse_active(slot)
        finally:
            other.stdin.close()
            other.wait(timeout=30)
    refuse_active(slot)


def test_the_root_of_this_machine_is_refused() -> None:
    root = os.stat("/").st_dev
    node = Path(f"/sys/dev/block/{os.major(root)}:{os.minor(root)}/uevent")
    if not node.exists():
        pytest.skip("missing: a root on a block device")
    facts = dict(line.split("=", 1) for line in node.read_text().splitlines())
    try:
        slot = real(f"/dev/{facts['DEVNAME']}")
    except Exception as error:
        pytest.skip(f"missing: {error}")
    with pytest.raises(SlotActive, match="mounted on /"):
        refuse_active(slot)

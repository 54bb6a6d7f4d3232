# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from tests.updater.fake_system import MIB, FakeBootloader, FakeMachine, groups, usual
from updater.errors import SlotMissing, SlotUnclear
from updater.running import Running, find_running, inactive
from updater.slots import Slot, SlotGroup
from updater.system import System
from updater.usage import root_devices


@pytest.fixture
def machine(tmp_path: Path) -> FakeMachine:
    return usual(tmp_path)


def found(machine: FakeMachine, told: str | None = None, override: str | None = None) -> Running:
    return find_running(groups(machine), FakeBootloader(told), override, machine.system())


def boot_of(machine: FakeMachine, told: str | None = None, override: str | None = None) -> str:
    running = found(machine, told, override)
    assert running.group is not None, running.evidence
    return running.group.boot


def test_the_root_device_tells(machine: FakeMachine) -> None:
    machine.mount(machine.numbers["vda3"], "/")
    assert boot_of(machine) == "B"


def test_the_bootloader_tells(machine: FakeMachine) -> None:
    assert boot_of(machine, told="B") == "B"


@pytest.mark.parametrize(
    "line",
    [
        *("caflip.slot=B", "rauc.slot=B", "caflip.slot=b", "caflip.slot=A caflip.slot=B"),
        *("root=PARTLABEL=root-b", "root=/dev/vda3 ro", "caflip.slot=B -- caflip.slot=A"),
    ],
)
def test_the_command_line_tells(line: str, machine: FakeMachine) -> None:
    machine.command_line(f"quiet {line}")
    assert boot_of(machine) == "B"


@pytest.mark.parametrize("line", ["root=UUID=1-2", "root=/dev/nfs", "root=PARTLABEL=data", "x"])
def test_what_names_no_slot_tells_nothing(line: str, machine: FakeMachine) -> None:
    machine.command_line(line)
    assert found(machine).group is None


def test_all_that_agrees_is_told(machine: FakeMachine) -> None:
    machine.mount(machine.numbers["vda2"], "/")
    machine.command_line("caflip.slot=A root=PARTLABEL=root-a")
    running = found(machine, told="A")
    assert [(item.seen, item.boot) for item in running.evidence] == [
        ("/ is on device 254:2", "A"),
        ("the bootloader says 'A'", "A"),
        ("caflip.slot=A for the kernel", "A"),
        ("root=PARTLABEL=root-a for the kernel", "A"),
    ]


@pytest.mark.parametrize(
    ("root", "told", "line"),
    [
        ("vda2", "B", ""),
        ("vda2", None, "caflip.slot=B"),
        ("vda2", None, "root=/dev/vda3"),
        (None, "A", "rauc.slot=B"),
        (None, None, "caflip.slot=A rauc.slot=B"),
        (None, None, "caflip.slot=A root=PARTLABEL=root-b"),
    ],
)
def test_contradictions_are_refused_and_all_evidence_is_named(
    root: str | None, told: str | None, line: str, machine: FakeMachine
) -> None:
    machine.command_line(line)
    if root:
        machine.mount(machine.numbers[root], "/")
    with pytest.raises(SlotUnclear, match="contradictory") as caught:
        found(machine, told)
    for word in line.split():
        assert word in str(caught.value)
    assert "(A)" in str(caught.value)
    assert "(B)" in str(caught.value)


def test_nothing_is_guessed(machine: FakeMachine) -> None:
    running = found(machine)
    assert running.group is None
    with pytest.raises(SlotUnclear, match="there is no evidence"):
        inactive(groups(machine), running)


def test_a_name_that_no_slot_has_is_told_and_counts_for_nothing(machine: FakeMachine) -> None:
    machine.command_line("caflip.slot=C")
    running = found(machine)
    assert running.group is None
    with pytest.raises(SlotUnclear, match=r"caflip\.slot=C for the kernel \(none of the slots\)"):
        inactive(groups(machine), running)


def test_the_others_are_inactive(machine: FakeMachine) -> None:
    both = groups(machine)
    assert inactive(both, found(machine, told="A")) == both[1:]


class TestTheRootIsFoundThrough:
    def test_a_mapping(self, machine: FakeMachine) -> None:
        machine.mount(machine.mapping("dm-0", 0, "vda3"), "/")
        assert boot_of(machine) == "B"

    def test_mappings_of_mappings(self, machine: FakeMachine) -> None:
        machine.mapping("dm-0", 0, "vda3")
        machine.mount(machine.mapping("dm-1", 1, "dm-0"), "/")
        assert boot_of(machine) == "B"

    def test_a_loop_device_over_the_partition(self, machine: FakeMachine) -> None:
        machine.mount(machine.loop(0, "/dev/vda3"), "/")
        assert boot_of(machine) == "B"

    def test_a_loop_device_over_a_part_of_the_disk(self, machine: FakeMachine) -> None:
        machine.mount(machine.loop(0, "/dev/vda", 320 * MIB, 256 * MIB), "/")
        assert boot_of(machine) == "B"

    def test_an_overlay(self, machine: FakeMachine) -> None:
        machine.mount(None, "/", kind="overlay", options="rw,lowerdir=/x:/ro/root,upperdir=/data/u")
        machine.mount(machine.numbers["vda3"], "/ro")
        machine.mount(machine.numbers["vda4"], "/data")
        assert root_devices(machine.system()) == (machine.numbers["vda3"],)
        assert boot_of(machine) == "B"

    def test_btrfs(self, machine: FakeMachine) -> None:
        machine.mount(None, "/", kind="btrfs", source="/dev/vda3")
        assert boot_of(machine) == "B"

    def test_the_last_mount_on_it(self, machine: FakeMachine) -> None:
        machine.mount(machine.numbers["vda2"], "/")
        machine.mount(machine.numbers["vda3"], "/")
        assert boot_of(machine) == "B"


def test_an_overlay_whose_lower_folders_cannot_be_seen_leaves_it_to_the_rest(
    machine: FakeMachine,
) -> None:
    machine.mount(None, "/", kind="overlay", options="lowerdir=/gone,upperdir=/gone/too")
    assert found(machine).group is None
    machine.command_line("caflip.slot=A")
    assert boot_of(machine) == "A"


def test_slots_that_are_logical_volumes_of_one_partition(machine: FakeMachine) -> None:
    machine.mapping("dm-0", 0, "vda4")
    machine.mount(machine.mapping("dm-1", 1, "vda4"), "/")
    running = find_running(
        groups(machine, "dm-0", "dm-1"), FakeBootloader(), None, machine.system()
    )
    assert running.group is not None
    assert running.group.boot == "B"


def test_a_root_that_may_lie_on_either_slot_is_no_evidence(machine: FakeMachine) -> None:
    machine.mount(machine.mapping("dm-0", 0, "vda2", "vda3"), "/")
    assert found(machine).group is None


def test_the_command_line_of_a_factory_says_nothing_of_the_disk_in_its_reader(
    machine: FakeMachine,
) -> None:
    machine.disk("sdb", 8)
    machine.mount(machine.partition("sdb", 1, MIB, MIB), "/")
    machine.command_line("caflip.slot=A root=/dev/sdb1")
    running = found(machine, told="A")
    assert running.group is None
    assert [item.weighs for item in running.evidence] == [True, False, False, False]
    with pytest.raises(SlotUnclear, match="of another disk"):
        inactive(groups(machine), running)


def test_a_root_beside_the_slots_leaves_the_command_line_in_force(machine: FakeMachine) -> None:
    machine.mount(machine.numbers["vda4"], "/")
    machine.command_line("caflip.slot=A")
    assert boot_of(machine) == "A"


def image_groups() -> tuple[SlotGroup, ...]:
    return tuple(
        SlotGroup(
            boot, {"rootfs": Slot(name, "rootfs", Path("/disk.img"), at * MIB, MIB, is_region=True)}
        )
        for boot, name, at in (("A", "a", 1), ("B", "b", 2))
    )


def test_nobody_is_asked_who_runs_from_image_files(machine: FakeMachine) -> None:
    machine.command_line("caflip.slot=A")
    running = find_running(image_groups(), FakeBootloader("A"), None, machine.system())
    assert running == Running(None, ())


@pytest.mark.parametrize("override", ["B", "b"])
def test_somebody_may_vouch_for_a_slot(override: str, machine: FakeMachine) -> None:
    assert boot_of(machine, told="A", override=override) == "B"
    images = image_groups()
    running = find_running(images, FakeBootloader(), override, machine.system())
    assert running.group == images[1]


def test_somebody_may_vouch_that_no_slot_runs(machine: FakeMachine) -> None:
    assert found(machine, told="A", override="none").group is None


@pytest.mark.parametrize("override", ["A", "none"])
def test_the_root_device_outweighs_whoever_vouches(override: str, machine: FakeMachine) -> None:
    machine.mount(machine.numbers["vda3"], "/")
    with pytest.raises(SlotUnclear, match=r"/ is on device 254:3, which is slot 'B'"):
        found(machine, override=override)


def test_a_name_that_is_vouched_for_has_to_exist(machine: FakeMachine) -> None:
    with pytest.raises(SlotMissing, match="no slot 'C'"):
        found(machine, override="C")


def test_this_machine_can_be_asked(tmp_path: Path) -> None:
    image = tmp_path / "image"
    image.write_bytes(bytes(MIB))
    slot = Slot("a", "rootfs", image, 0, MIB)
    assert find_running([SlotGroup("A", {"rootfs": slot})], FakeBootloader()).group is None
    root_devices(System())

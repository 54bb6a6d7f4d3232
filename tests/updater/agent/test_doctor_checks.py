# SPDX-License-Identifier: Apache-2.0
"""Single checks on a made-up machine, where a whole device on files has nothing to show."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.capabilities import require_loop_devices, require_root, require_tool
from tests.loops import loop_device, mounted, run
from tests.updater.config_texts import PATH
from tests.updater.device import Device
from tests.updater.fake_system import MIB, FakeBootloader, FakeMachine, groups, usual
from updater.agent.checks import bootloader, programs, slots, storage, trust
from updater.agent.checks.finding import Check, Level, Patient
from updater.agent.doctor import diagnose
from updater.config import parse_config
from updater.releases.clock import LONGEST_LIFE, NOT_BEFORE
from updater.releases.gnupg_home import KeyFacts
from updater.slots import SlotGroup

OK, WARNING, PROBLEM = Level.OK, Level.WARNING, Level.PROBLEM
NOW = datetime(2026, 12, 1, tzinfo=UTC)
TEXT = """\
compatible = "x"
[bootloader]
kind = "grub"
environment = "/boot/grub/grubenv"
[[slot]]
name = "a"
device = "PARTLABEL=root-a"
boot = "A"
[[slot]]
name = "b"
device = "PARTLABEL=root-b"
boot = "B"
"""


class Fixed:
    """A clock that stands."""

    def __init__(self, now: datetime) -> None:
        self._now = now

    def now(self) -> datetime:
        return self._now


@pytest.fixture
def machine(tmp_path: Path) -> FakeMachine:
    machine = usual(tmp_path)
    machine.mount(machine.numbers["vda2"], "/")
    return machine


def patient(
    machine: FakeMachine, text: str = "", now: datetime = NOW, kind: str = "fake"
) -> Patient:
    config = parse_config((TEXT + text).encode(), PATH)
    made = Patient(config, machine.system(), Fixed(now), groups=groups(machine))
    made.bootloader = FakeBootloader(kind=kind)
    return made


def found(check: Check, who: Patient) -> list[tuple[Level, str]]:
    return [(item.level, item.found) for item in check(who)]


def says(check: Check, who: Patient, level: Level, text: str) -> bool:
    """Whether the check finds this, and nothing worse, and knows a remedy."""
    findings = list(check(who))
    worst = max(findings, key=lambda item: list(Level).index(item.level))
    told = worst.level is level and any(
        item.level is level and text in item.found for item in findings
    )
    return told and (level is OK or all(i.remedy for i in findings if i.level is level))


def test_slots_are_looked_for_by_their_labels(machine: FakeMachine) -> None:
    who = patient(machine)
    expected, who.groups = who.groups, ()
    assert says(slots.check_found, who, OK, "B: b (/dev/vda3) has 256.0M")
    assert who.groups == expected


def test_sectors_of_different_lengths_are_told(machine: FakeMachine) -> None:
    who = patient(machine)
    a, b = who.groups
    who.groups = (a, SlotGroup("B", {"rootfs": replace(b.slots["rootfs"], sector_size=4096)}))
    assert says(slots.check_alike, who, WARNING, "differ in the bytes of a sector: a 512, b 4096")
    assert found(slots.check_alike, patient(machine)) == []


def test_a_slot_by_two_names_is_shared(machine: FakeMachine) -> None:
    machine.loop(0, "/dev/vda2")
    who = patient(machine)
    who.groups = groups(machine, "vda2", "loop0")
    assert says(slots.check_alike, who, PROBLEM, "share bytes")


def test_the_running_slot_is_told_with_its_evidence(machine: FakeMachine) -> None:
    who = patient(machine)
    assert says(slots.check_running, who, OK, "A: / is on device 254:2 (A)")


def test_a_running_slot_that_nothing_tells_is_a_problem(machine: FakeMachine) -> None:
    machine.mount_lines.clear()
    machine.mount(None, "/", kind="tmpfs")
    assert says(slots.check_running, patient(machine), PROBLEM, "there is no evidence")


def test_the_inactive_slot_must_not_be_mounted(machine: FakeMachine) -> None:
    for node in ("vda2", "vda3"):
        path = machine.root / "dev" / node
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"")
    who = patient(machine)
    list(slots.check_running(who))
    assert says(slots.check_inactive, who, OK, "b (/dev/vda3) is used by nobody")
    machine.mount(machine.numbers["vda3"], "/mnt")
    who = patient(machine)
    assert any(
        "mounted on /mnt" in text
        for level, text in found(slots.check_inactive, who)
        if level is PROBLEM
    )


def test_a_slot_that_the_kernel_has_read_only_is_told(machine: FakeMachine) -> None:
    who = patient(machine)
    list(slots.check_running(who))
    who.groups = tuple(
        SlotGroup(group.boot, {"rootfs": replace(group.slots["rootfs"], read_only=True)})
        for group in who.groups
    )
    told = found(slots.check_inactive, who)
    assert [level for level, _ in told] == [WARNING, PROBLEM], "the running one, the inactive one"
    assert "b (/dev/vda3) cannot be written" in told[1][1]


def test_the_bootloader_that_started_this_system_is_compared(machine: FakeMachine) -> None:
    machine.write("etc/fw_env.config", "")
    who = patient(machine)
    who.config = parse_config((TEXT).encode(), PATH)
    assert says(bootloader.check_kind, who, WARNING, "for uboot does: /etc/fw_env.config")
    (machine.root / "etc/fw_env.config").unlink()
    machine.write("boot/grub/grubenv", "")
    assert says(bootloader.check_kind, patient(machine), OK, "grub: /boot/grub/grubenv")


def test_auto_is_a_warning_and_a_problem_where_nothing_is_found(machine: FakeMachine) -> None:
    auto = TEXT.replace('kind = "grub"\nenvironment = "/boot/grub/grubenv"', 'kind = "auto"')
    who = patient(machine)
    who.config = parse_config(auto.encode(), PATH)
    assert says(bootloader.check_kind, who, PROBLEM, "none was detected")
    machine.write("etc/fw_env.config", "")
    assert says(bootloader.check_kind, who, WARNING, "detected uboot")


@pytest.mark.parametrize(
    ("folder", "content", "level"),
    [
        ("usr/lib/systemd/system", "[Service]", PROBLEM),
        ("etc/systemd/system", None, OK),
        ("etc/systemd/system", "", OK),
        (None, None, OK),
    ],
)
def test_systemd_must_not_bless_a_boot_that_is_not_proved(
    machine: FakeMachine, folder: str | None, content: str | None, level: Level
) -> None:
    machine.write(f"usr/lib/systemd/system/{bootloader.BLESS}", "[Service]")
    if folder is None:
        (machine.root / f"usr/lib/systemd/system/{bootloader.BLESS}").unlink()
    elif folder.startswith("etc"):
        path = machine.root / folder / bootloader.BLESS
        path.parent.mkdir(parents=True)
        if content is None:
            path.symlink_to("/dev/null")
        else:
            path.write_text(content)
    who = patient(machine, kind="systemd-boot")
    assert says(bootloader.check_blessing, who, level, "bless-boot")
    assert found(bootloader.check_blessing, patient(machine)) == [], "others do not ask it"


def state_in(machine: FakeMachine, folder: str) -> Patient:
    (machine.root / folder.lstrip("/")).mkdir(parents=True, exist_ok=True)
    return patient(machine, f'[state]\nfolder = "{folder}"\n')


def test_a_state_on_storage_of_its_own_is_right(machine: FakeMachine) -> None:
    machine.mount(machine.numbers["vda4"], "/data", source="/dev/vda4")
    who = state_in(machine, "/data/caflip")
    assert says(storage.check_place, who, OK, "is on /dev/vda4 (ext4), in none of the slots")


def test_a_state_in_a_slot_is_a_problem(machine: FakeMachine) -> None:
    who = state_in(machine, "/var/lib/caflip")
    assert says(storage.check_place, who, PROBLEM, "is in slot a (/dev/vda2)")


def test_a_state_in_a_slot_below_a_mapping_is_a_problem(machine: FakeMachine) -> None:
    machine.mapping("dm-0", 0, "vda3")
    machine.mount(machine.numbers["dm-0"], "/data", source="/dev/dm-0")
    assert says(storage.check_place, state_in(machine, "/data"), PROBLEM, "is in slot b")


def test_a_state_on_an_overlay_is_where_that_writes_to(machine: FakeMachine) -> None:
    machine.mount(machine.numbers["vda4"], "/data", source="/dev/vda4")
    options = "rw,lowerdir=/etc,upperdir=/data/upper,workdir=/data/work"
    machine.mount(None, "/etc", kind="overlay", source="overlay", options=options)
    who = state_in(machine, "/etc/caflip")
    assert says(storage.check_place, who, OK, "is on /dev/vda4")
    machine.mount_lines.pop()
    options = options.replace("/data/", "/")
    machine.mount(None, "/etc", kind="overlay", source="overlay", options=options)
    assert says(storage.check_place, state_in(machine, "/etc/caflip"), PROBLEM, "in slot a")


def test_a_state_in_memory_is_a_problem_and_a_cache_in_memory_a_warning(
    machine: FakeMachine,
) -> None:
    machine.mount(None, "/run", kind="tmpfs", source="tmpfs")
    assert says(storage.check_place, state_in(machine, "/run/caflip"), PROBLEM, "is in memory")
    who = patient(machine, '[stores]\ncache = "/run/caflip"\n')
    assert says(storage.check_cache, who, WARNING, "is in memory")


def test_room_is_told_before_it_is_gone(machine: FakeMachine, tmp_path: Path) -> None:
    require_root()
    require_tool("mount")
    folder = machine.root / "data"
    folder.mkdir()
    machine.mount(machine.numbers["vda4"], "/data", source="/dev/vda4")
    for size, level in ((64, OK), (8, WARNING), (1, PROBLEM)):
        run("mount", "-t", "tmpfs", "-o", f"size={size}m", "none", folder)
        try:
            assert says(storage.check_place, state_in(machine, "/data"), level, "are free")
            if size == 64:
                run("mount", "-o", "remount,nr_inodes=3", folder)
                (folder / "one").touch()
                (folder / "two").touch()
                assert says(storage.check_place, state_in(machine, "/data"), PROBLEM, "inodes")
                run("mount", "-o", "remount,ro", folder)
                told = found(storage.check_place, state_in(machine, "/data"))
                assert (PROBLEM, "/data cannot be written") in told
        finally:
            run("umount", folder)


def key(days: float | None, *, revoked: bool = False, name: str = "A") -> KeyFacts:
    expires = None if days is None else NOW + timedelta(days=days)
    return KeyFacts(name * 40, "Test <t@example.org>", NOW - timedelta(days=9), expires, revoked)


@pytest.mark.parametrize(
    ("keys", "threshold", "expected"),
    [
        ([key(None)], 1, []),
        ([key(61)], 1, []),
        ([key(60)], 1, [(WARNING, "expires in 60 days")]),
        ([key(0.5)], 1, [(WARNING, "expires in 0 days")]),
        ([key(-1)], 1, [(WARNING, "is expired"), (PROBLEM, "0 valid keys are left and 1 have")]),
        ([key(None, revoked=True), key(None, name="B")], 1, [(WARNING, "is revoked")]),
        (
            [key(None, revoked=True), key(None, name="B")],
            2,
            [(WARNING, "is revoked"), (PROBLEM, "1 valid keys are left and 2 have to sign")],
        ),
    ],
)
def test_keys_are_held_against_the_threshold(
    keys: list[KeyFacts], threshold: int, expected: list[tuple[Level, str]]
) -> None:
    told = list(trust.judge_keys(keys, threshold, NOW))
    assert [item.level for item in told] == [level for level, _ in expected]
    assert all(text in item.found for item, (_, text) in zip(told, expected, strict=True))
    assert all(item.remedy for item in told)


@pytest.mark.parametrize(
    ("now", "url", "level"),
    [
        (NOT_BEFORE + LONGEST_LIFE - timedelta(days=1), "https://x.example/", OK),
        (datetime(1970, 1, 1, tzinfo=UTC), "http://x.example/", WARNING),
        (datetime(1970, 1, 1, tzinfo=UTC), "https://x.example/", PROBLEM),
        (NOT_BEFORE + LONGEST_LIFE + timedelta(days=1), "/media/stick", WARNING),
    ],
)
def test_a_clock_that_cannot_be_right_is_told(
    machine: FakeMachine, now: datetime, url: str, level: Level
) -> None:
    who = patient(machine, f'[channel]\nurl = "{url}"\n', now)
    assert says(trust.check_clock, who, level, "it says")


@pytest.fixture
def systemctl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A systemctl that knows acme.service only, and is none of systemd's."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "systemctl"
    program.write_text('#!/bin/sh\n[ "$5" = acme.service ] && echo loaded || echo not-found\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    yield program


def test_a_service_that_is_not_there_is_a_problem(machine: FakeMachine, systemctl: Path) -> None:
    who = patient(machine, '[health]\nservices = ["acme.service"]\n')
    assert says(programs.check_health, who, OK, "acme.service is there")
    who = patient(machine, '[health]\nservices = ["acme.service", "acne.service"]\n')
    assert says(programs.check_health, who, PROBLEM, "acne.service: systemd says 'not-found'")
    systemctl.write_text("#!/bin/sh\nexit 1\n")
    assert says(programs.check_health, who, PROBLEM, "systemd cannot be asked")


def test_somebody_has_to_call_the_health_check(machine: FakeMachine) -> None:
    assert found(programs.check_caller, patient(machine)) == [], "no systemd, no opinion"
    (machine.root / "run/systemd/system").mkdir(parents=True)
    assert says(programs.check_caller, patient(machine), WARNING, "is not enabled")
    wants = f"etc/systemd/system/multi-user.target.wants/{programs.HEALTH_UNIT}"
    machine.write(wants, "")
    assert says(programs.check_caller, patient(machine), OK, "multi-user.target.wants")


def test_a_state_in_the_slot_of_a_real_device_is_found(device: Device, tmp_path: Path) -> None:
    require_loop_devices()
    require_tool("losetup", "mkfs.ext4", "mount")
    images = []
    for name in ("a.img", "b.img"):
        image = tmp_path / name
        image.touch()
        os.truncate(image, 32 * MIB)
        run("mkfs.ext4", "-q", "-F", image)
        images.append(image)
    with loop_device(images[0]) as a, loop_device(images[1]) as b, mounted(a, tmp_path / "m") as m:
        text = device.config.read_text()
        for line in text.splitlines():
            if line.startswith("device = "):
                node = a if str(a) not in text else b
                text = text.replace(line, f'device = "{node}"', 1)
        device.config.write_text(text.replace('folder = "state"', f'folder = "{m}/caflip"'))
        told = diagnose(device.config, running="A").findings

        def has(level: Level, subject: str, text: str) -> bool:
            return any(
                (item.level, item.subject) == (level, subject) and text in item.found
                for item in told
            )

        assert has(PROBLEM, "state", f"is in slot root-a ({a})")
        assert has(OK, "inactive slot", f"root-b ({b}) is used by nobody")
        run("mount", "-o", "remount,ro", m)
        told = diagnose(device.config, running="B").findings
        assert has(PROBLEM, "inactive slot", f"root-a ({a}) is in use: mounted on {m}")
        assert has(PROBLEM, "state", "cannot be written")


def test_what_cannot_be_asked_is_told_once(machine: FakeMachine) -> None:
    who = patient(machine)
    who.bootloader = None
    assert found(bootloader.check_environment, who) == []
    assert found(bootloader.check_weaknesses, who) == []
    assert found(slots.check_running, who) == [
        (WARNING, "not looked at: the bootloader cannot be asked")
    ]

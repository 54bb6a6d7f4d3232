# SPDX-License-Identifier: Apache-2.0
"""systemd-boot's entries and variables: over plain files, against bootctl, and in QEMU."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from boot.bootloader import BootState, SlotBoot, SlotState
from boot.efivars import LOADER, EfiVariables
from boot.errors import (
    BootError,
    BootloaderMissing,
    BootSettingInvalid,
    EnvironmentInvalid,
    SlotUnknown,
)
from boot.loader_entries import read_entries, select
from boot.systemd_boot import SystemdBoot, pattern_of
from boot.version_order import compare_versions
from tests.boot.firmware import UefiMachine, run
from tests.capabilities import require_root, require_tool
from tests.loops import run as run_text

SLOTS = ("slot-a", "slot-b")
A, B = SLOTS
GOOD, TRYING, BAD = SlotState.GOOD, SlotState.TRYING, SlotState.BAD
SAME = [HealthCheck.function_scoped_fixture]


class Fake:
    """A $BOOT partition and an efivarfs of plain files."""

    def __init__(self, folder: Path) -> None:
        self.boot, self.efivars = folder / "boot", folder / "efivars"
        self.entries, self.unified = self.boot / "loader/entries", self.boot / "EFI/Linux"
        for path in (self.entries, self.unified, self.efivars):
            path.mkdir(parents=True)
        self.variables = EfiVariables(self.efivars)
        self.loader = SystemdBoot(self.boot, SLOTS, self.efivars)

    def entry(self, name: str, text: str = "", kernel: str = "/kernel.efi") -> Path:
        path = self.entries / name
        path.write_text(f"title {name}\nefi {kernel}\n{text}")
        (self.boot / "kernel.efi").touch()
        return path

    def names(self) -> list[str]:
        found = [*self.entries.iterdir(), *self.unified.iterdir()]
        return sorted(path.name for path in found)

    def default(self) -> str | None:
        return self.variables.read_text("LoaderEntryDefault", LOADER)

    def starts(self, name: str) -> None:
        """Do what systemd-boot does before it starts the kernel of an entry."""
        path = self.entries / name
        stem, _, counter = path.stem.partition("+")
        if counter:
            left, _, done = counter.partition("-")
            path.rename(path.with_name(f"{stem}+{max(int(left) - 1, 0)}-{int(done or 0) + 1}.conf"))


@pytest.fixture
def fake(tmp_path: Path) -> Fake:
    """Slot A is good and the default; slot B sorts before it, and is bad."""
    fake = Fake(tmp_path)
    fake.entry("slot-a.conf")
    fake.entry("slot-b+0.conf")
    fake.loader.mark_good(A)
    return fake


def test_the_life_of_a_slot(fake: Fake) -> None:
    loader = fake.loader
    assert loader.read() == BootState((SlotBoot(A, GOOD), SlotBoot(B, BAD)), A, A)
    loader.set_primary(B, 2)
    assert fake.names() == ["slot-a.conf", "slot-b+2.conf"]
    assert loader.read() == BootState((SlotBoot(A, GOOD), SlotBoot(B, TRYING, 2)), B, B)
    fake.starts("slot-b+2.conf")
    assert loader.read() == BootState((SlotBoot(A, GOOD), SlotBoot(B, TRYING, 1)), B, B)
    fake.starts("slot-b+1-1.conf")
    assert loader.read() == BootState((SlotBoot(A, GOOD), SlotBoot(B, TRYING, 0)), B, A)
    loader.mark_good(B)
    assert fake.names() == ["slot-a.conf", "slot-b.conf"]
    assert loader.read() == BootState((SlotBoot(A, GOOD), SlotBoot(B, GOOD)), B, B)
    loader.mark_bad(B)
    assert fake.names() == ["slot-a.conf", "slot-b+0.conf"]
    state = loader.read()
    assert (state.slots[1], state.next) == (SlotBoot(B, BAD), A)


def test_the_default_matches_what_may_boot_and_nothing_else() -> None:
    pattern = pattern_of("Slot-B")
    may = ["slot-b.conf", "slot-b+7.conf", "slot-b+1-6.conf", "slot-b.efi", "slot-b+2-0.efi"]
    may_not = ["slot-b+0.conf", "slot-b+0-3.conf", "slot-b+0-1.efi", "slot-a.conf", "slot-bc.conf"]
    assert [name for name in may + may_not if fnmatchcase(name, pattern)] == may


def test_commit_of_the_primary_slot_is_one_rename(
    fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.loader.set_primary(B, 3)

    def refuse(*_: object) -> int:
        raise AssertionError("something is written")

    renamed: list[Path] = []
    real = os.rename

    def recording(old: Path, new: Path) -> None:
        renamed.append(new)
        real(old, new)

    monkeypatch.setattr(os, "write", refuse)
    monkeypatch.setattr(os, "rename", recording)
    fake.loader.mark_good(B)
    assert [path.name for path in renamed] == ["slot-b.conf"]
    fake.loader.mark_bad(B)
    assert [path.name for path in renamed[1:]] == ["slot-b+0.conf"]


def test_a_call_that_changes_nothing_writes_nothing(
    fake: Fake, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake.loader.set_primary(B, 3)

    def refuse(*_: object) -> None:
        raise AssertionError("something is written")

    for name in ("write", "rename", "unlink", "fsync"):
        monkeypatch.setattr(os, name, refuse)
    fake.loader.set_primary(B, 3)
    (fake.entries / "slot-b+3.conf").replace(fake.entries / "slot-b+3-0.conf")
    fake.loader.set_primary(B, 3)


@pytest.mark.parametrize("call", ["set_primary", "mark_good", "mark_bad"])
def test_a_cut_before_each_step_boots_before_or_after(
    fake: Fake, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    calls = {
        "set_primary": lambda: fake.loader.set_primary(B, 3),
        "mark_good": lambda: fake.loader.mark_good(B),
        "mark_bad": lambda: fake.loader.mark_bad(B),
    }
    if call != "set_primary":
        fake.loader.set_primary(B, 3)
    before = fake.loader.read()
    shutil.copytree(fake.boot.parent, saved := fake.boot.parent / "saved")
    calls[call]()
    after = fake.loader.read()
    left, seen = 0, set()
    while True:
        for name in ("boot", "efivars"):
            shutil.rmtree(fake.boot.parent / name)
            shutil.copytree(saved / name, fake.boot.parent / name)
        steps = iter(range(left))

        def step(real: object) -> object:
            def cut(*args: object) -> object:
                if next(steps, None) is None:  # noqa: B023
                    raise KeyboardInterrupt
                return real(*args)  # type: ignore[operator]

            return cut

        with monkeypatch.context() as patch:
            for name in ("write", "rename", "unlink"):
                patch.setattr(os, name, step(getattr(os, name)))
            try:
                calls[call]()
                break
            except KeyboardInterrupt:
                state = fake.loader.read()
                seen.add(left)
                assert (state.primary, state.next) in (
                    (before.primary, before.next),
                    (after.primary, after.next),
                )
        left += 1
    assert len(seen) == (2 if call == "set_primary" else 1)


def test_two_names_of_one_slot_are_told_and_mended(fake: Fake) -> None:
    fake.entry("slot-b+2.conf")
    fake.entry("slot-b+1-1.conf")
    fake.loader.mark_bad(B)
    assert fake.names() == ["slot-a.conf", "slot-b+0.conf"]
    fake.entry("slot-b+2.conf")
    state = fake.loader.read()
    assert "has 2 boot entries: slot-b+2.conf, slot-b+0.conf" in state.warnings[0]
    assert state.slots[1] == SlotBoot(B, TRYING, 2)
    fake.loader.set_primary(B, 3)
    assert fake.names() == ["slot-a.conf", "slot-b+3.conf"]
    assert fake.loader.read().warnings == ()


def test_a_slot_without_entry_or_kernel_is_never_made_primary(fake: Fake) -> None:
    (fake.entries / "slot-b+0.conf").unlink()
    fake.loader.mark_bad(B)
    assert "slot slot-b has no boot entry" in fake.loader.read().warnings
    with pytest.raises(EnvironmentInvalid, match="no boot entry"):
        fake.loader.set_primary(B, 1)
    fake.entry("slot-b.conf", kernel="/missing.efi")
    state = fake.loader.read()
    assert state.slots[1] == SlotBoot(B, BAD)
    assert "/missing.efi is not there" in state.warnings[0]
    with pytest.raises(EnvironmentInvalid):
        fake.loader.mark_good(B)
    assert fake.default() == pattern_of(A)


def test_an_empty_file_with_the_next_name_does_not_stand_in_the_way(fake: Fake) -> None:
    for left in ("slot-b+3.conf", "slot-b.conf"):
        (fake.entries / left).touch()
    assert fake.loader.read().next == A
    fake.loader.set_primary(B, 3)
    assert fake.names() == ["slot-a.conf", "slot-b+3.conf"]
    assert fake.loader.read().next == B


def test_a_file_that_shares_its_clusters_with_an_entry_is_told(fake: Fake) -> None:
    before = fake.loader.weaknesses()
    (fake.entries / "slot-b+2.conf.shared-1").touch()
    (more,) = set(fake.loader.weaknesses()) - set(before)
    assert "slot-b+2.conf.shared-1 has the clusters of a boot entry" in more


def test_a_default_by_name_is_told_and_replaced(fake: Fake) -> None:
    fake.variables.write_text("LoaderEntryDefault", LOADER, "slot-b+0*")
    fake.starts("slot-b+0.conf")
    state = fake.loader.read()
    assert (state.primary, state.next) == (B, B)
    assert "boots without being counted" in state.warnings[0]
    assert "although it has no tries left" in state.warnings[-1]
    fake.loader.mark_bad(B)
    assert fake.loader.read().next == A
    fake.variables.write_text("LoaderEntryDefault", LOADER, "@saved")
    fake.variables.write_text("LoaderEntryLastBooted", LOADER, "slot-a.conf")
    assert fake.loader.read().next == A
    fake.loader.set_primary(B, 1)
    assert fake.default() == pattern_of(B)


def test_a_one_shot_entry_is_told_and_taken_back(fake: Fake) -> None:
    fake.variables.write_text("LoaderEntryOneShot", LOADER, "slot-b*")
    state = fake.loader.read()
    assert (state.primary, state.next) == (A, B)
    assert "LoaderEntryOneShot" in state.warnings[0]
    fake.loader.mark_good(A)
    assert fake.variables.read_text("LoaderEntryOneShot", LOADER) is None


@pytest.mark.parametrize("line", ["default slot-b*", "default @saved", "preferred slot-a.conf"])
def test_nothing_is_written_while_loader_conf_stands_in_the_way(fake: Fake, line: str) -> None:
    (fake.boot / "loader/loader.conf").write_text(f"timeout 3\n{line}\n")
    assert "loader.conf" in fake.loader.read().warnings[0]
    assert "loader.conf" in fake.loader.weaknesses()[-1]
    before = fake.names(), fake.default()
    calls: tuple[Callable[[], None], ...] = (
        lambda: fake.loader.set_primary(B, 3),
        lambda: fake.loader.mark_good(B),
        lambda: fake.loader.mark_bad(A),
    )
    for call in calls:
        with pytest.raises(BootSettingInvalid) as caught:
            call()
        assert "take that line out" in str(caught.value.hint)
    assert (fake.names(), fake.default()) == before


@pytest.mark.parametrize("line", ["default slot-a.conf", "# default slot-b*", "timeout 0"])
def test_a_harmless_loader_conf_is_left_alone(fake: Fake, line: str) -> None:
    (fake.boot / "loader/loader.conf").write_text(f"{line}\n")
    fake.loader.set_primary(B, 3)
    assert fake.loader.read().warnings == ()


def test_an_entry_that_would_boot_instead_of_the_other_slot_is_told(fake: Fake) -> None:
    fake.entry("zrescue.conf")
    assert fake.loader.read().warnings == (
        "if slot slot-a fails, zrescue.conf boots: it is no slot",
    )


def test_what_runs_is_what_the_loader_says(fake: Fake) -> None:
    assert fake.loader.running() is None
    for selected, slot in {
        "slot-b+2.conf": B,
        "slot-a.conf": A,
        "SLOT-B+1-1.EFI": B,
        "rescue.conf": None,
        "": None,
    }.items():
        fake.variables.write_text("LoaderEntrySelected", LOADER, selected)
        assert fake.loader.running() == slot


def test_names_and_absences(fake: Fake, tmp_path: Path) -> None:
    for names in (("auto-a", "b"), ("a+1", "b"), ("a", "a"), ("a", "a.c")):
        with pytest.raises(BootSettingInvalid):
            SystemdBoot(fake.boot, names, fake.efivars)
    with pytest.raises(SlotUnknown):
        fake.loader.mark_good("slot-c")
    with pytest.raises(BootSettingInvalid):
        fake.loader.set_primary(B, 8)
    with pytest.raises(BootloaderMissing):
        SystemdBoot(tmp_path / "none", SLOTS, fake.efivars).read()
    with pytest.raises(BootloaderMissing):
        SystemdBoot(fake.boot, SLOTS, tmp_path / "none").read()


def unified(path: Path, os_release: str) -> None:
    """Make a unified kernel image out of systemd's stub."""
    require_tool("objcopy")
    stub = Path("/usr/lib/systemd/boot/efi/linuxx64.efi.stub")
    if not stub.exists():
        require_tool("systemd-boot-efi: linuxx64.efi.stub")
    section = path.with_name("os-release")
    section.write_text(os_release)
    address = ("--change-section-vma", ".osrel=0x20000", "--add-section", f".linux={section}")
    more = ("--change-section-vma", ".linux=0x30000")
    run("objcopy", "--add-section", f".osrel={section}", *address, *more, stub, path)
    section.unlink()


def test_unified_kernel_images_follow_the_same_rules(tmp_path: Path) -> None:
    fake = Fake(tmp_path)
    for slot in SLOTS:
        unified(fake.unified / f"{slot}.efi", 'ID=caflip\nVERSION_ID="1.2"\n')
    entries = read_entries(fake.boot)
    assert [(entry.sort_key, entry.version, entry.flaw) for entry in entries] == [
        ("caflip", "1.2", None)
    ] * 2
    fake.loader.set_primary(A, 3)
    fake.loader.mark_good(B)
    fake.loader.set_primary(A, 2)
    assert fake.names() == ["slot-a+2.efi", "slot-b.efi"]
    assert fake.loader.read().next == A
    (fake.unified / "slot-a+2.efi").write_bytes(b"MZ torn")
    state = fake.loader.read()
    assert (state.slots[0].state, state.next) == (BAD, B)


@settings(max_examples=60, deadline=None, suppress_health_check=SAME)
@given(st.data())
def test_damage_raises_nothing_but_boot_errors(fake: Fake, data: st.DataObject) -> None:
    names = st.from_regex(r"slot-[ab](\+[0-9]{1,2}(-[0-9])?)?\.(conf|efi)", fullmatch=True)
    for name in data.draw(st.lists(names, max_size=4)):
        folder = fake.entries if name.endswith(".conf") else fake.unified
        (folder / name).write_bytes(data.draw(st.binary(max_size=80)))
    value = data.draw(st.binary(max_size=9))
    (fake.efivars / f"LoaderEntryDefault-{LOADER}").write_bytes(value)
    for call in (
        fake.loader.read,
        fake.loader.running,
        fake.loader.weaknesses,
        lambda: fake.loader.set_primary(B, 2),
        lambda: fake.loader.mark_good(A),
        lambda: fake.loader.mark_bad(B),
    ):
        try:
            call()
        except BootError:
            continue


VERSIONS = [
    "1",
    "1~rc1",
    "1-2",
    "1.2",
    "1.10",
    "1.2^a",
    "1a",
    "a",
    "",
    "007",
    "7",
    "1.2-3",
    "~",
    "é1",
]


def test_versions_are_ordered_as_systemd_says() -> None:
    require_tool("systemd-analyze")
    for a in VERSIONS:
        for b in VERSIONS:
            command = ["systemd-analyze", "compare-versions", a, b]
            result = subprocess.run(command, capture_output=True, timeout=60)
            order = {0: 0, 11: 1, 12: -1}[result.returncode]
            assert compare_versions(a, b) == order, (a, b)


@pytest.fixture
def mounted_boot(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own: bootctl insists on that."""
    require_root()
    if shutil.which("bootctl") is None:
        # No failure under CI: where Debian has bootctl in one package with systemd-boot, to
        # install that is to install a boot loader on the machine.
        pytest.skip("missing: bootctl")
    (tmp_path / "boot").mkdir()
    run_text("mount", "-t", "tmpfs", "tmpfs", tmp_path / "boot")
    try:
        yield tmp_path / "boot"
    finally:
        run_text("umount", tmp_path / "boot")


@pytest.mark.root
def test_the_order_of_entries_is_bootctls(mounted_boot: Path) -> None:
    entries = mounted_boot / "loader/entries"
    entries.mkdir(parents=True)
    (mounted_boot / "k.efi").touch()
    number = 0
    for version in VERSIONS[:9]:
        for sort_key in (
            "",
            "sort-key x\n",
            "sort-key y\nmachine-id 0123456789abcdef0123456789abcdef\n",
        ):
            for counter in ("", "+2", "+1-1", "+0-3"):
                number += 1
                word = version.translate({ord("~"): "_", ord("^"): "_"}) or "none"
                name = f"e{number % 7}-{word}-{number}{counter}.conf"
                line = f"version {version}\n" if version else ""
                (entries / name).write_text(f"title t\nefi /k.efi\n{line}{sort_key}")
    environment = os.environ | {"SYSTEMD_RELAX_ESP_CHECKS": "1"}
    command = ["bootctl", "list", f"--esp-path={mounted_boot}", "--json=short"]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    # An array, or in older versions one object a line.
    text = result.stdout if result.stdout.startswith("[") else f"[{result.stdout.strip()}]"
    found = json.loads(text.replace("}\n{", "},{"))
    # By path: the id that bootctl shows is without the counter, unlike that of systemd-boot.
    listed = [Path(entry["path"]).name for entry in found if "auto-" not in entry["id"]]
    assert len(listed) == number
    assert [entry.id for entry in read_entries(mounted_boot)] == listed
    chosen = select(read_entries(mounted_boot))
    assert chosen is not None
    assert chosen.id == listed[0]


def test_systemd_boot_boots_what_read_says(fake: Fake, tmp_path: Path) -> None:
    loader_program = Path("/usr/lib/systemd/boot/efi/systemd-bootx64.efi")
    if not loader_program.exists():
        require_tool("systemd-boot-efi: systemd-bootx64.efi")
    machine = UefiMachine(tmp_path, fake.efivars, fake.boot)
    machine.put(loader_program, "EFI/BOOT/BOOTX64.EFI")
    for slot in ("a", "b"):
        machine.put(machine.payload(slot), f"{slot}.efi")
        (fake.boot / f"{slot}.efi").touch()
    for path in fake.entries.iterdir():
        path.unlink()
    # B sorts before A: without the variable, A would never be chosen while B is good.
    fake.entry("slot-b.conf", kernel="/b.efi")
    fake.entry("slot-a+0.conf", kernel="/a.efi")
    fake.loader.mark_good(B)

    def boots() -> str | None:
        expected = fake.loader.read().next
        booted = machine.boot()
        assert expected is not None
        assert booted == expected[-1]
        return booted

    fake.loader.set_primary(A, 2)
    assert boots() == "a"
    assert fake.loader.read().slots[0] == SlotBoot(A, TRYING, 1)
    assert boots() == "a"
    assert fake.names() == ["slot-a+0-2.conf", "slot-b.conf"]
    assert boots() == "b", "the tries are used up"
    fake.loader.set_primary(A, 1)
    fake.loader.mark_good(A)
    assert boots() == "a"
    fake.loader.mark_bad(A)
    assert boots() == "b"
    assert fake.names() == ["slot-a+0.conf", "slot-b.conf"]

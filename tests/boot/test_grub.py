# SPDX-License-Identifier: Apache-2.0
"""GRUB's environment and script, against grub-editenv, grub-fstest and GRUB itself on a BIOS."""

from __future__ import annotations

import itertools
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import boot
from boot.bootloader import BootState, SlotBoot, SlotState
from boot.errors import (
    BootError,
    BootloaderMissing,
    BootSettingInvalid,
    EnvironmentInvalid,
    SlotUnknown,
)
from boot.grub import Grub, create_environment
from boot.grubenv import LENGTH, SECTOR, SIGNATURE, Block
from tests.boot.firmware import GrubMachine, run
from tests.capabilities import require_tool

SCRIPT = Path(boot.__file__).parent / "data/grub.cfg"
SLOTS = ("A", "B")
GOOD, TRYING, BAD = SlotState.GOOD, SlotState.TRYING, SlotState.BAD


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """An environment in which A is good and first, and B is bad."""
    path = tmp_path / "grubenv"
    create_environment(path, SLOTS, "A")
    return path


def grub(path: Path) -> Grub:
    return Grub(path, SLOTS, path.with_name("cmdline"))


def editenv(path: Path, *words: str) -> str:
    require_tool("grub-editenv")
    return run("grub-editenv", path, *words).decode()


def states(state: BootState) -> dict[str, tuple[SlotState, int | None]]:
    return {slot.name: (slot.state, slot.tries_left) for slot in state.slots}


def test_a_new_environment_is_read_by_grub_editenv(path: Path) -> None:
    assert editenv(path, "list").split("\n")[:5] == [
        "ORDER=A",
        "A_OK=1",
        "A_LEFT=0",
        "B_OK=0",
        "B_LEFT=0",
    ]
    assert path.stat().st_size == LENGTH
    assert path.stat().st_blocks > 0


def test_the_life_of_a_slot(path: Path) -> None:
    loader = grub(path)
    assert loader.read() == BootState((SlotBoot("A", GOOD), SlotBoot("B", BAD)), "A", "A")
    loader.set_primary("B", 2)
    assert loader.read() == BootState((SlotBoot("A", GOOD), SlotBoot("B", TRYING, 2)), "B", "B")
    editenv(path, "set", "B_LEFT=0")
    assert loader.read() == BootState((SlotBoot("A", GOOD), SlotBoot("B", TRYING, 0)), "B", "A")
    loader.mark_good("B")
    assert loader.read() == BootState((SlotBoot("A", GOOD), SlotBoot("B", GOOD)), "B", "B")
    loader.mark_bad("B")
    assert loader.read() == BootState((SlotBoot("A", GOOD), SlotBoot("B", BAD)), "A", "A")
    loader.mark_bad("A")
    assert loader.read() == BootState((SlotBoot("A", BAD), SlotBoot("B", BAD)), None, None)
    assert "ORDER=\n" in editenv(path, "list")


def test_grub_editenv_writes_and_we_read(path: Path) -> None:
    editenv(path, "set", "ORDER=B A", "B_OK=0", "B_LEFT=3", "x=1")
    assert states(grub(path).read())["B"] == (TRYING, 3)
    editenv(path, "unset", "A_OK")
    with pytest.raises(EnvironmentInvalid, match="A_OK is missing"):
        grub(path).read()


def test_a_call_that_changes_nothing_writes_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loader = grub(path)
    loader.set_primary("B", 3)

    def refuse(*_: object) -> int:
        raise AssertionError("something is written")

    monkeypatch.setattr(os, "pwrite", refuse)
    monkeypatch.setattr(os, "write", refuse)
    before = path.stat()
    loader.set_primary("B", 3)
    with pytest.raises(AssertionError):
        loader.mark_good("A")
    monkeypatch.undo()
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_the_file_is_written_in_place(path: Path) -> None:
    inode = path.stat().st_ino
    grub(path).set_primary("B", 3)
    assert path.stat().st_ino == inode
    assert [entry.name for entry in path.parent.iterdir()] == ["grubenv"]


CALLS: dict[str, Callable[[Grub], None]] = {
    "set_primary": lambda loader: loader.set_primary("B", 7),
    "mark_good": lambda loader: loader.mark_good("B"),
    "mark_bad_first": lambda loader: loader.mark_bad("A"),
}


def writes_of(path: Path, call: str, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, bytes]]:
    found: list[tuple[int, bytes]] = []
    real = os.pwrite

    def recording(fd: int, data: bytes, offset: int) -> int:
        found.append((offset, bytes(data)))
        return real(fd, data, offset)

    with monkeypatch.context() as patch:
        patch.setattr(os, "pwrite", recording)
        CALLS[call](grub(path))
    return found


@pytest.mark.parametrize("foreign", [0, 300, 700])
@pytest.mark.parametrize("call", ["set_primary", "mark_good", "mark_bad_first"])
def test_whichever_sector_is_torn_the_state_is_before_or_after(
    path: Path, monkeypatch: pytest.MonkeyPatch, call: str, foreign: int
) -> None:
    if foreign:
        editenv(path, "set", f"foreign={'x' * foreign}")
    old, before = path.read_bytes(), grub(path).read()
    writes = writes_of(path, call, monkeypatch)
    new, after = path.read_bytes(), grub(path).read()
    assert [offset for offset, _ in writes] == [0], "the second sector is not touched"
    for first, second in itertools.product((old, new), repeat=2):
        path.write_bytes(first[:SECTOR] + second[SECTOR:])
        assert grub(path).read() in (before, after)
        listed = editenv(path, "list")
        assert f"foreign={'x' * foreign}" in listed or not foreign


@pytest.mark.parametrize("call", ["set_primary", "mark_good", "mark_bad_first"])
def test_variables_that_another_program_moved_survive_a_cut_at_every_write(
    path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    # grub-editenv appends: ours come to stand behind a long foreign variable, across both sectors.
    editenv(path, "unset", "ORDER", "B_OK", "A_OK")
    editenv(path, "set", f"foreign={'x' * 446}", "ORDER=A", "A_OK=1", "B_OK=0")
    old, before = path.read_bytes(), grub(path).read()
    writes = writes_of(path, call, monkeypatch)
    after = grub(path).read()
    assert len(writes) > 1
    data = bytearray(old)
    for offset, piece in writes:
        data[offset : offset + len(piece)] = piece
        path.write_bytes(data)
        assert grub(path).read() in (before, after)
    assert f"foreign={'x' * 446}\n" in editenv(path, "list")
    assert Block.parse(bytes(data), path).first_sector_holds({"ORDER", "A_OK", "B_LEFT"})


DAMAGED = {
    "zeros": bytes(LENGTH),
    "empty": b"",
    "short": (SIGNATURE + b"ORDER=A\nA_OK=1\nA_LEFT=0\nB_OK=0\nB_LEFT=0\n").ljust(700, b"#"),
    "long": (SIGNATURE + b"ORDER=A\nA_OK=1\nA_LEFT=0\nB_OK=0\nB_LEFT=0\n").ljust(1025, b"#"),
    "signature": (b"# grub environment block\n" + b"ORDER=A\nA_OK=1\n").ljust(LENGTH, b"#"),
    "never provisioned": SIGNATURE.ljust(LENGTH, b"#"),
    "count": (SIGNATURE + b"ORDER=A\nA_OK=1\nA_LEFT=8\nB_OK=0\nB_LEFT=0\n").ljust(LENGTH, b"#"),
    "superscript": (SIGNATURE + "ORDER=A\nA_OK=1\nA_LEFT=²\nB_OK=0\nB_LEFT=0\n".encode()).ljust(
        LENGTH, b"#"
    ),
    "blank": (SIGNATURE + b"ORDER=A\xa0B\nA_OK=1\nA_LEFT=0\nB_OK=0\nB_LEFT=0\n").ljust(
        LENGTH, b"#"
    ),
    "no name": (SIGNATURE + b"junk\nORDER=A\n").ljust(LENGTH, b"#"),
    "open end": SIGNATURE + b"ORDER=A\nx=".ljust(LENGTH - len(SIGNATURE), b"y"),
    "missing": None,
}


@pytest.mark.parametrize("what", DAMAGED)
def test_a_damaged_environment_is_never_believed_nor_written(tmp_path: Path, what: str) -> None:
    path, data = tmp_path / "grubenv", DAMAGED[what]
    if data is not None:
        path.write_bytes(data)
    loader = grub(path)
    for call in (
        loader.read,
        lambda: loader.set_primary("B", 1),
        lambda: loader.mark_good("A"),
        lambda: loader.mark_bad("A"),
    ):
        with pytest.raises(EnvironmentInvalid):
            call()
    assert (path.read_bytes() if path.exists() else None) == data
    create_environment(path, SLOTS, "B", good=["A"])
    assert loader.read() == BootState((SlotBoot("A", GOOD), SlotBoot("B", GOOD)), "B", "B")


def test_without_the_folder_the_bootloader_is_missing(tmp_path: Path) -> None:
    with pytest.raises(BootloaderMissing):
        Grub(tmp_path / "no/grubenv", SLOTS).read()


def test_a_repair_keeps_what_others_stored(path: Path) -> None:
    editenv(path, "set", "saved_entry=back\\slash\nand newline")
    editenv(path, "unset", "ORDER")
    create_environment(path, SLOTS, "A")
    assert "saved_entry=back\\slash\nand newline\n" in editenv(path, "list")


VALUES = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=60)
SAME = [HealthCheck.function_scoped_fixture]


@settings(max_examples=60, deadline=None, suppress_health_check=SAME)
@given(st.dictionaries(st.from_regex(r"[a-z_]{1,8}", fullmatch=True), VALUES, max_size=4))
def test_other_programs_variables_go_both_ways(path: Path, foreign: dict[str, str]) -> None:
    path.unlink()
    create_environment(path, SLOTS, "A")
    for name, value in foreign.items():
        editenv(path, "set", f"{name}={value}")
    grub(path).set_primary("B", 5)
    found = Block.parse(path.read_bytes(), path).variables()
    assert {name: found[name] for name in foreign} == foreign
    listed = editenv(path, "list")
    for name, value in foreign.items():
        assert f"{name}={value}\n" in listed


@settings(max_examples=150, deadline=None, suppress_health_check=SAME)
@given(st.data())
def test_flips_and_truncations_raise_nothing_but_boot_errors(
    path: Path, data: st.DataObject
) -> None:
    path.unlink(missing_ok=True)
    create_environment(path, SLOTS, "A", good=["B"])
    block = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        block[data.draw(st.integers(0, 90))] ^= 1 << data.draw(st.integers(0, 7))
    length = data.draw(st.sampled_from([0, 1, 24, 511, 512, 1023, 1024]))
    path.write_bytes(block[:length])
    try:
        state = grub(path).read()
    except BootError:
        return
    assert length == LENGTH
    # What is believed is what GRUB's own parser finds.
    listed = dict(line.partition("=")[::2] for line in editenv_raw(path).split("\n") if line)
    assert {slot.name for slot in state.slots if slot.state is GOOD} == {
        name
        for name in SLOTS
        if listed.get(f"{name}_OK") == "1" and name in listed["ORDER"].split()
    }


def editenv_raw(path: Path) -> str:
    require_tool("grub-editenv")
    command = ["grub-editenv", str(path), "list"]
    return subprocess.run(command, capture_output=True, timeout=60).stdout.decode("latin-1")


def test_names_that_cannot_be_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "grubenv"
    with pytest.raises(BootSettingInvalid):
        Grub(path, ("slot-a", "slot-b"))
    with pytest.raises(BootSettingInvalid, match="first 512 bytes"):
        Grub(path, ("a" * 90, "b" * 90))
    create_environment(path, SLOTS, "A")
    for tries in (0, 8):
        with pytest.raises(BootSettingInvalid):
            grub(path).set_primary("A", tries)
    with pytest.raises(SlotUnknown):
        grub(path).mark_bad("C")
    with pytest.raises(SlotUnknown):
        create_environment(path, SLOTS, "C")


def test_foreign_names_in_the_order_are_told_and_mended(path: Path) -> None:
    editenv(path, "set", "ORDER=R B A B")
    assert "ORDER is" in grub(path).read().warnings[0]
    grub(path).mark_good("A")
    assert grub(path).read().warnings == ()


def test_the_command_line_tells_what_runs(path: Path) -> None:
    path.with_name("cmdline").write_text("ro rauc.slot=B quiet\n")
    assert grub(path).running() == "B"


def test_a_file_without_blocks_is_a_weakness(path: Path) -> None:
    assert len(grub(path).weaknesses()) == 1
    path.unlink()
    with open(path, "wb") as file:
        file.truncate(LENGTH)
    assert "no blocks" in grub(path).weaknesses()[1]


def test_grub_reads_from_the_file_system_what_we_wrote(path: Path, tmp_path: Path) -> None:
    require_tool("grub-fstest", "mkfs.ext4")
    tree = tmp_path / "tree"
    tree.mkdir()
    path.rename(tree / "grubenv")
    run("mkfs.ext4", "-q", "-d", tree, tmp_path / "image", "4M")
    read = run("grub-fstest", tmp_path / "image", "cat", "(loop0)/grubenv")
    assert read == (tree / "grubenv").read_bytes()


def test_the_script_is_grubs_language() -> None:
    require_tool("grub-script-check")
    run("grub-script-check", SCRIPT)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> GrubMachine:
    return GrubMachine(tmp_path_factory.mktemp("grub"), SCRIPT)


def test_grub_counts_every_try_and_falls_back(path: Path, machine: GrubMachine) -> None:
    machine.set_kernels(*SLOTS)
    loader = grub(path)
    loader.set_primary("B", 7)
    for left in range(6, -1, -1):
        booted, serial = machine.boot(path)
        assert booted == "B"
        assert "caflip.slot=B" in serial
        assert states(loader.read())["B"] == (TRYING, left)
    assert loader.read().next == "A"
    counted = path.read_bytes()
    assert machine.boot(path)[0] == "A"
    assert path.read_bytes() == counted, "a good slot boots without a write"
    loader.mark_good("B")
    assert machine.boot(path)[0] == "B"


@pytest.mark.parametrize("a", ["1 0", "0 2", "0 0"])
@pytest.mark.parametrize("b", ["1 0", "0 1", "0 0"])
@pytest.mark.parametrize("order", ["B A", "A", ""])
def test_grub_boots_what_read_says(
    path: Path, machine: GrubMachine, a: str, b: str, order: str
) -> None:
    machine.set_kernels(*SLOTS)
    for slot, (ok, left) in (("A", a.split()), ("B", b.split())):
        editenv(path, "set", f"ORDER={order}", f"{slot}_OK={ok}", f"{slot}_LEFT={left}")
    expected = grub(path).read().next
    assert machine.boot(path)[0] == (expected or "none")


def test_a_missing_kernel_leads_to_the_next_slot(path: Path, machine: GrubMachine) -> None:
    grub(path).set_primary("B", 2)
    machine.set_kernels("A")
    booted, serial = machine.boot(path)
    assert booted == "A"
    assert "slot B cannot be loaded" in serial
    assert states(grub(path).read())["B"] == (TRYING, 1)
    machine.set_kernels()
    assert machine.boot(path)[0] == "none"


@pytest.mark.parametrize("what", ["zeros", "empty", "signature", "never provisioned", "missing"])
def test_with_a_damaged_environment_grub_goes_by_the_default(
    tmp_path: Path, machine: GrubMachine, what: str
) -> None:
    path, data = tmp_path / "grubenv", DAMAGED[what]
    if data is not None:
        path.write_bytes(data)
    machine.set_kernels(*SLOTS)
    booted, serial = machine.boot(path)
    assert booted == "A"
    assert "missing or damaged" in serial
    machine.set_kernels("B")
    assert machine.boot(path)[0] == "B"


def test_a_try_that_cannot_be_counted_is_not_made(path: Path, machine: GrubMachine) -> None:
    machine.set_kernels(*SLOTS)
    grub(path).set_primary("B", 3)
    booted, serial = machine.boot(path, read_only=True)
    assert booted == "A"
    assert "slot B is not tried" in serial

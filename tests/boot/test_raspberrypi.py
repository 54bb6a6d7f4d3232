# SPDX-License-Identifier: Apache-2.0
"""autoboot.txt of the Raspberry Pi. No emulator runs that firmware: its rules are modelled here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boot import raspberrypi
from boot.bootloader import BootState
from boot.errors import (
    BootError,
    BootloaderMissing,
    BootSettingInvalid,
    EnvironmentFault,
    EnvironmentInvalid,
    SlotUnknown,
)
from boot.raspberrypi import RaspberryPi

DOCUMENTED = "[all]\ntryboot_a_b=1\nboot_partition=2\n[tryboot]\nboot_partition=3\n"
"""The example of the Raspberry Pi documentation."""


class Board:
    """A board with two boot partitions, 2 and 3."""

    def __init__(self, folder: Path, text: str = DOCUMENTED) -> None:
        self.file = folder / "autoboot.txt"
        self.file.write_text(text)
        self.tree = folder / "device-tree"
        (self.tree / "chosen/bootloader").mkdir(parents=True)
        self.boots = 0
        self.boot_id = folder / "boot_id"
        self.command_line = folder / "cmdline"
        self.command_line.write_text("quiet\n")
        self.pi = RaspberryPi(
            ["A", "B"],
            partitions={"A": 2, "B": 3},
            autoboot=self.file,
            device_tree=self.tree,
            boot_id=self.boot_id,
            command_line=self.command_line,
        )
        self.start(None)

    def start(self, argument: str | None) -> str | None:
        """Start as the firmware does: the last setting of the sections that apply."""
        tryboot = argument == "0 tryboot"
        applies, partition = True, 0
        for line in self.file.read_text().splitlines():
            if line.startswith("["):
                applies = line == "[all]" or (line == "[tryboot]" and tryboot)
            elif applies and line.startswith("boot_partition="):
                partition = int(line.removeprefix("boot_partition="))
        self.boots += 1
        self.boot_id.write_text(f"boot-{self.boots}\n")
        for name, value in (("partition", partition), ("tryboot", int(tryboot))):
            (self.tree / "chosen/bootloader" / name).write_bytes(value.to_bytes(4, "big"))
        return self.pi.running()

    def reboot(self) -> str | None:
        return self.start(self.pi.reboot_argument())


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return Board(tmp_path)


def slots(state: BootState) -> dict[str, tuple[str, int | None]]:
    return {slot.name: (slot.state.value, slot.tries_left) for slot in state.slots}


def test_the_documented_file_has_two_good_slots_and_is_not_touched(board: Board) -> None:
    state = board.pi.read()
    assert slots(state) == {"A": ("good", None), "B": ("good", None)}
    assert (state.primary, state.next, board.pi.reboot_argument()) == ("A", "A", None)
    board.pi.mark_good("A")
    assert board.file.read_text() == DOCUMENTED


def test_an_update_that_starts_is_swapped_in(board: Board) -> None:
    board.pi.set_primary("B", 3)
    state = board.pi.read()
    assert slots(state)["B"] == ("trying", 1)
    assert (state.primary, state.next) == ("B", "B")
    assert board.pi.reboot_argument() == "0 tryboot"
    assert board.reboot() == "B"
    assert slots(board.pi.read())["B"] == ("trying", 0)
    assert (board.pi.read().next, board.pi.reboot_argument()) == ("A", None)
    board.pi.mark_good("B")
    assert board.file.read_text() == DOCUMENTED.translate({ord("2"): "3", ord("3"): "2"})
    assert board.reboot() == "B"


def test_an_update_that_does_not_start_is_tried_once(board: Board) -> None:
    board.pi.set_primary("B", 3)
    assert board.reboot() == "B"
    assert board.start(None) == "A"
    state = board.pi.read()
    assert slots(state)["B"] == ("trying", 0)
    assert (state.primary, state.next) == ("B", "A")
    assert board.reboot() == "A"
    board.pi.mark_bad("B")
    assert slots(board.pi.read()) == {"A": ("good", None), "B": ("bad", None)}
    assert "[tryboot]" not in board.file.read_text()
    assert board.start("0 tryboot") == "A", "nor by a reboot by hand"


def test_a_power_cut_before_the_reboot_leaves_the_trial_unarmed(board: Board) -> None:
    board.pi.set_primary("B", 3)
    assert board.start(None) == "A"
    assert board.pi.reboot_argument() is None
    board.pi.set_primary("B", 3)
    assert board.reboot() == "B"


def test_every_call_is_safe_to_repeat_and_writes_once(
    board: Board, monkeypatch: pytest.MonkeyPatch
) -> None:
    changes: list[Callable[[], None]] = [
        lambda: board.pi.set_primary("B", 2),
        lambda: board.pi.mark_good("B"),
        lambda: board.pi.mark_bad("A"),
        lambda: board.pi.set_primary("A", 1),
    ]
    for change in changes:
        change()
        with monkeypatch.context() as patch:
            patch.setattr(raspberrypi, "replace_file", None)  # a write would fail
            change()


def test_the_slot_that_always_starts_cannot_be_tried_and_ends_a_trial(board: Board) -> None:
    board.pi.set_primary("B", 1)
    board.pi.set_primary("A", 1)
    assert slots(board.pi.read()) == {"A": ("good", None), "B": ("good", None)}
    assert board.pi.reboot_argument() is None


def test_marking_the_standing_slot_bad_moves_to_the_other_good_one(board: Board) -> None:
    board.pi.mark_bad("A")
    assert slots(board.pi.read()) == {"A": ("bad", None), "B": ("good", None)}
    assert board.start(None) == "B"
    board.pi.mark_bad("B")
    state = board.pi.read()
    assert slots(state) == {"A": ("bad", None), "B": ("bad", None)}
    assert state.next == "B" == board.start(None), "one has to stand there, and that is said"
    board.pi.set_primary("A", 1)
    assert board.reboot() == "A"


def test_foreign_lines_are_kept(tmp_path: Path) -> None:
    board = Board(tmp_path, "# hand-made\n" + DOCUMENTED + "[none]\nx=y\n[pi5]\nz=1\n")
    board.pi.set_primary("B", 1)
    board.pi.mark_good("B")
    text = board.file.read_text()
    assert "# hand-made\n" in text and "[none]\nx=y\n" in text and "[pi5]\nz=1\n" in text
    assert board.start(None) == "B"


def test_512_bytes_are_kept_to(tmp_path: Path) -> None:
    board = Board(tmp_path, DOCUMENTED + "# " + "x" * (510 - len(DOCUMENTED)))
    before = board.file.read_text()
    with pytest.raises(EnvironmentFault, match="512"):
        board.pi.set_primary("B", 1)
    assert board.file.read_text() == before
    board.file.write_text(before + "y")
    with pytest.raises(EnvironmentInvalid, match="512"):
        board.pi.read()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[all]\ntryboot_a_b=1\n",
        "[all]\nboot_partition=7\n",
        "[all]\nboot_partition=x\n",
        "[all]\nboot_partition=\n",
        "[tryboot]\nboot_partition=2\n",
        DOCUMENTED + "[none]\ncaflip_trying=2\n",
        DOCUMENTED + "[none]\ncaflip_bad=2 x\n",
    ],
)
def test_a_file_that_makes_no_sense_is_refused_and_not_written(tmp_path: Path, text: str) -> None:
    board = Board(tmp_path)
    board.file.write_text(text)
    for call in (board.pi.read, board.pi.reboot_argument, lambda: board.pi.mark_good("B")):
        with pytest.raises(EnvironmentInvalid):
            call()
    assert board.file.read_text() == text


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=520) | st.text("[]al=tryboon_pi23\n ", max_size=80).map(str.encode))
def test_any_file_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, raw: bytes) -> None:
    board = Board(tmp_path_factory.mktemp("pi"))
    board.file.write_bytes(raw)
    for call in (board.pi.read, lambda: board.pi.set_primary("B", 1), board.pi.read):
        try:
            call()
        except BootError:
            return


def test_the_running_slot_is_told_by_the_device_tree_else_by_the_kernel(board: Board) -> None:
    assert board.pi.running() == "A"
    node = board.tree / "chosen/bootloader/partition"
    node.write_bytes((3).to_bytes(4, "big"))
    assert board.pi.running() == "B"
    node.write_bytes(b"\0")
    assert board.pi.running() is None
    node.unlink()
    board.command_line.write_text("caflip.slot=B")
    assert board.pi.running() == "B"


def test_settings_that_make_no_sense_are_refused(tmp_path: Path, board: Board) -> None:
    assert RaspberryPi(["2", "3"], autoboot=board.file, boot_id=board.boot_id).read().next == "2"
    for partitions in ({"A": 2}, {"A": 2, "B": 2}, {"A": 0, "B": 1}, None):
        with pytest.raises(BootSettingInvalid):
            RaspberryPi(["A", "B"], partitions=partitions)
    with pytest.raises(SlotUnknown):
        board.pi.mark_bad("C")
    with pytest.raises(BootSettingInvalid):
        board.pi.set_primary("B", 0)
    board.file.unlink()
    with pytest.raises(BootloaderMissing):
        board.pi.read()
    assert board.pi.kind == "raspberrypi" and board.pi.weaknesses()

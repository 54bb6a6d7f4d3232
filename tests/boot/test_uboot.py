# SPDX-License-Identifier: Apache-2.0
"""The U-Boot backend on a file; the script's choice is modelled here and run for real elsewhere."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boot import media
from boot.bootloader import MAX_TRIES, BootState, SlotBoot, SlotState
from boot.errors import (
    BootloaderMissing,
    BootSettingInvalid,
    EnvironmentInvalid,
    SlotUnknown,
)
from boot.media import Location, Plain
from boot.uboot import UBoot
from boot.uboot_environment import StoredEnvironment
from tests.capabilities import require_tool

SCRIPT = Path(__file__).parents[2] / "boot/data/uboot.cmd"
SIZE = 0x2000


def stored(folder: Path, **variables: str) -> tuple[UBoot, StoredEnvironment]:
    path = folder / "env"
    path.write_bytes(bytes(2 * SIZE))
    environment = StoredEnvironment(
        [Plain(Location(path, at, SIZE)) for at in (0, SIZE)], lock=None
    )
    # A first copy by the tool of U-Boot's own, so that there is something to change.
    require_tool("mkenvimage")
    text = "".join(f"{name}={value}\n" for name, value in ({"x": "y"} | variables).items())
    made = folder / "made"
    subprocess.run(
        ["mkenvimage", "-r", "-s", hex(SIZE), "-o", made, "-"], input=text.encode(), check=True
    )
    path.write_bytes(made.read_bytes() + bytes(SIZE))
    command_line = folder / "cmdline"
    command_line.write_text("quiet caflip.slot=A\n")
    return UBoot(["A", "B"], environment=environment, command_line=command_line), environment


def boot(environment: StoredEnvironment) -> str | None:
    """Do what boot/data/uboot.cmd does, in a few lines; None: it gives each slot one more try."""
    variables = environment.read().variables
    for name in variables["BOOT_ORDER"].split():
        left = variables.get(f"BOOT_{name}_LEFT", "")
        if variables.get(f"BOOT_{name}_OK") == "1":
            return name
        if left and left in "123456789abcdef":
            fewer = {f"BOOT_{name}_LEFT": f"{int(left, 16) - 1:x}"}
            environment.change(lambda _, fewer=fewer: fewer)  # type: ignore[misc]
            return name
    return None


def slots(state: BootState) -> dict[str, tuple[str, int | None]]:
    return {slot.name: (slot.state.value, slot.tries_left) for slot in state.slots}


def test_an_update_that_starts_is_kept(tmp_path: Path) -> None:
    uboot, environment = stored(tmp_path, BOOT_ORDER="A B", BOOT_A_OK="1", BOOT_A_LEFT="3")
    uboot.set_primary("B", 2)
    state = uboot.read()
    assert (state.primary, state.next) == ("B", "B")
    assert slots(state) == {"A": ("good", None), "B": ("trying", 2)}
    assert boot(environment) == "B"
    assert slots(uboot.read())["B"] == ("trying", 1)
    uboot.mark_good("B")
    assert slots(uboot.read()) == {"A": ("good", None), "B": ("good", None)}
    before = environment.read()
    assert [boot(environment) for _ in range(9)] == ["B"] * 9
    assert environment.read() == before, "a good slot's boots are not written down"


def test_an_update_that_does_not_start_is_given_up(tmp_path: Path) -> None:
    uboot, environment = stored(tmp_path, BOOT_ORDER="A B", BOOT_A_OK="1", BOOT_A_LEFT="3")
    uboot.set_primary("B", 2)
    assert [boot(environment) for _ in range(4)] == ["B", "B", "A", "A"]
    state = uboot.read()
    assert (state.primary, state.next) == ("B", "A")
    assert slots(state)["B"] == ("trying", 0)
    uboot.mark_bad("B")
    state = uboot.read()
    assert (state.primary, state.next) == ("A", "A")
    assert slots(state)["B"] == ("bad", None)
    assert environment.read().variables["BOOT_ORDER"] == "A"


def test_when_all_are_bad_the_order_is_a_word_that_is_no_slot(tmp_path: Path) -> None:
    uboot, environment = stored(tmp_path, BOOT_ORDER="A B")
    uboot.mark_bad("A")
    uboot.mark_bad("B")
    assert environment.read().variables["BOOT_ORDER"] == "none"
    state = uboot.read()
    assert (state.primary, state.next) == (None, None)
    assert boot(environment) is None
    uboot.mark_good("B")
    assert environment.read().variables["BOOT_ORDER"] == "B"


def test_before_anything_is_stored_all_slots_have_their_tries(tmp_path: Path) -> None:
    uboot, environment = stored(tmp_path)
    assert slots(uboot.read()) == {"A": ("trying", 3), "B": ("trying", 3)}
    assert uboot.read().next == "A"
    uboot.set_primary("B", 1)
    variables = environment.read().variables
    assert {name: value for name, value in variables.items() if name != "x"} == {
        "BOOT_ORDER": "B A",
        "BOOT_A_OK": "0",
        "BOOT_A_LEFT": "3",
        "BOOT_B_OK": "0",
        "BOOT_B_LEFT": "1",
    }


def test_raucs_variables_are_understood_and_served(tmp_path: Path) -> None:
    _, environment = stored(tmp_path, BOOT_ORDER="B A", BOOT_B_LEFT="2")
    rauc = UBoot(["A", "B"], environment=environment, script="rauc")
    # RAUC's script takes a missing count for 3 (contrib/uboot.sh).
    assert slots(rauc.read()) == {"A": ("trying", 3), "B": ("trying", 2)}
    rauc.mark_good("B")
    assert environment.read().variables["BOOT_B_LEFT"] == "3"
    assert slots(rauc.read())["B"] == ("good", None)
    environment.change(lambda _: {"BOOT_B_LEFT": "0"})
    assert slots(rauc.read())["B"] == ("trying", 0)
    assert rauc.read().next == "A"
    assert "RAUC" in rauc.weaknesses()[-1]
    caflip = UBoot(["A", "B"], environment=environment)
    assert slots(caflip.read())["B"] == ("good", None)


def test_marking_good_fills_up_what_raucs_script_used(tmp_path: Path) -> None:
    uboot, environment = stored(
        tmp_path, BOOT_ORDER="A B", BOOT_A_OK="1", BOOT_A_LEFT="1", BOOT_B_OK="0", BOOT_B_LEFT="0"
    )
    uboot.mark_good("A")
    assert environment.read().variables["BOOT_A_LEFT"] == "3"


def test_foreign_names_in_the_order_are_kept(tmp_path: Path) -> None:
    uboot, environment = stored(tmp_path, BOOT_ORDER=" A recovery  B A", BOOT_A_LEFT="3")
    assert uboot.read().primary == "A"
    uboot.set_primary("B", 3)
    assert environment.read().variables["BOOT_ORDER"] == "B A recovery"


@pytest.mark.parametrize("text", ["10", "x", "-1", "F", " 1"])
def test_a_count_that_the_script_cannot_read_is_0_and_told(tmp_path: Path, text: str) -> None:
    uboot, environment = stored(tmp_path, BOOT_ORDER="A B", BOOT_A_LEFT=text, BOOT_B_LEFT="f")
    state = uboot.read()
    assert slots(state) == {"A": ("trying", 0), "B": ("trying", 15)}
    assert any("BOOT_A_LEFT" in warning for warning in state.warnings)
    assert state.next == boot(environment) == "B"


def test_every_call_is_safe_to_repeat_and_writes_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uboot, _ = stored(tmp_path, BOOT_ORDER="A B", BOOT_A_LEFT="3", BOOT_B_LEFT="3")
    for _ in range(2):
        changes: list[Callable[[], None]] = [
            lambda: uboot.set_primary("B", 2),
            lambda: uboot.mark_good("B"),
            lambda: uboot.mark_bad("A"),
            lambda: uboot.mark_bad("B"),
            lambda: uboot.set_primary("A", 1),
        ]
        for change in changes:
            change()
            with monkeypatch.context() as patch:
                patch.setattr(media, "overwrite", None)  # a write would fail
                change()


def test_a_single_copy_changes_in_one_sector_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored(tmp_path, BOOT_ORDER="A B", zz="x" * 3000)
    path = tmp_path / "env"
    made = tmp_path / "made"
    text = (
        "BOOT_A_LEFT=3\nBOOT_A_OK=1\nBOOT_B_LEFT=3\nBOOT_B_OK=0\nBOOT_ORDER=A B\nzz=" + "x" * 3000
    )
    subprocess.run(
        ["mkenvimage", "-s", hex(SIZE), "-o", made, "-"], input=text.encode(), check=True
    )
    path.write_bytes(made.read_bytes())
    uboot = UBoot(
        ["A", "B"], environment=StoredEnvironment([Plain(Location(path, 0, SIZE))], lock=None)
    )
    changes: list[Callable[[], None]] = [
        lambda: uboot.set_primary("B", 2),
        lambda: uboot.mark_bad("B"),
        lambda: uboot.set_primary("B", 7),
        lambda: uboot.mark_good("B"),
    ]
    for change in changes:
        before = path.read_bytes()
        change()
        after = path.read_bytes()
        assert before != after
        assert before[512:] == after[512:]
    assert uboot.read().primary == "B"


@settings(max_examples=80, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["set_primary", "mark_good", "mark_bad", "boot"]),
            st.sampled_from(["A", "B"]),
            st.integers(1, MAX_TRIES),
        ),
        max_size=12,
    )
)
def test_what_is_said_to_boot_next_is_what_the_script_boots(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, str, int]]
) -> None:
    uboot, environment = stored(tmp_path_factory.mktemp("uboot"), BOOT_ORDER="A B", BOOT_A_OK="1")
    for what, slot, tries in steps:
        if what == "boot":
            expected = uboot.read().next
            assert boot(environment) == expected
            continue
        if what == "set_primary":
            uboot.set_primary(slot, tries)
            wanted = SlotBoot(slot, SlotState.TRYING, tries)
        elif what == "mark_good":
            uboot.mark_good(slot)
            wanted = SlotBoot(slot, SlotState.GOOD)
        else:
            uboot.mark_bad(slot)
            wanted = SlotBoot(slot, SlotState.BAD)
        state = uboot.read()
        assert state.slot(slot) == wanted
        assert (state.primary == slot) == (what != "mark_bad")


def test_the_running_slot_and_the_rest_of_the_seam(tmp_path: Path) -> None:
    uboot, _ = stored(tmp_path)
    assert uboot.kind == "uboot"
    assert uboot.running() == "A"
    assert uboot.reboot_argument() is None
    assert uboot.weaknesses() == ()


@pytest.mark.parametrize("names", [[], ["A", "A"], ["a-b"], ["none"], ["A B"], [""], ["A", "${x}"]])
def test_names_that_cannot_be_part_of_a_variable_are_refused(names: list[str]) -> None:
    with pytest.raises(BootSettingInvalid):
        UBoot(names)


def test_other_nonsense_is_refused_by_name(tmp_path: Path) -> None:
    uboot, environment = stored(tmp_path)
    with pytest.raises(SlotUnknown, match="'C'"):
        uboot.mark_good("C")
    with pytest.raises(SlotUnknown):
        uboot.read().slot("C")
    for tries in (0, MAX_TRIES + 1, -1):
        with pytest.raises(BootSettingInvalid):
            uboot.set_primary("A", tries)
    with pytest.raises(BootSettingInvalid):
        UBoot(["A"], script="other")
    with pytest.raises(BootSettingInvalid):
        UBoot(["A"], tries=0)
    with pytest.raises(BootloaderMissing):
        UBoot(["A"], config=tmp_path / "nothing").read()
    (tmp_path / "env").write_bytes(bytes(2 * SIZE))
    for call in (uboot.read, lambda: uboot.mark_good("A"), lambda: uboot.set_primary("A", 1)):
        with pytest.raises(EnvironmentInvalid):
            call()
    assert environment is not None
    assert (tmp_path / "env").read_bytes() == bytes(2 * SIZE)


def test_the_script_is_accepted_by_mkimage_and_agrees_with_the_backend(tmp_path: Path) -> None:
    require_tool("mkimage")
    made = tmp_path / "boot.scr"
    subprocess.run(
        ["mkimage", "-A", "arm64", "-T", "script", "-C", "none", "-d", SCRIPT, made],
        check=True,
        capture_output=True,
    )
    assert SCRIPT.read_bytes() in made.read_bytes()
    text = SCRIPT.read_text()
    for left, rest in zip("123456789abcdef", "0123456789abcde", strict=True):
        assert f'if test "${{left}}" = {left}; then rest={rest}; fi' in text
    assert "caflip.slot=${slot}" in text
    assert "setexpr" not in text.replace("`setexpr`", "")

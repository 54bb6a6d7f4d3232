# SPDX-License-Identifier: Apache-2.0
"""barebox's state. Oracle: barebox-state of dt-utils, which shares barebox's code for it.

It asks udev for the device behind a device tree node; a preloaded function answers in udev's place,
so that the device is a file. The golden bytes were made by hand from barebox's structures.
"""

from __future__ import annotations

import os
import struct
import subprocess
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boot import barebox_state
from boot.barebox import UNCOUNTED, Barebox
from boot.barebox_state import layout_of
from boot.bootloader import BootState
from boot.errors import (
    BootloaderMissing,
    BootSettingInvalid,
    EnvironmentInvalid,
    SlotUnknown,
)
from tests.capabilities import require_tool

STRIDE = 64
MAGIC = 0x4D433230
VARIABLES = {
    "last_chosen": 0,
    "A.remaining_attempts": 4,
    "A.priority": 8,
    "B.remaining_attempts": 12,
    "B.priority": 16,
}
HAND_MADE = bytes.fromhex(
    # bucket: magic, length │ record: magic, 0, length, crc of data, crc of header │ data
    "f3fd5423 24000000 3032434d 0000 1400 81107b4c 60c58f27"
    "00000000 03000000 14000000 07000000 0a000000"
)

TREE = """/dts-v1/;
/ {
  aliases { state = "/state"; };
  disk: disk { };
  state: state {
    #address-cells = <1>; #size-cells = <1>;
    compatible = "barebox,state";
    magic = <0x4d433230>;
    backend = <&disk>;
    backend-type = "raw";
    backend-stridesize = <64>;
    backend-storage-type = "direct";
    bootstate {
      #address-cells = <1>; #size-cells = <1>;
      last_chosen@0 { reg = <0x0 0x4>; type = "uint32"; };
      A { #address-cells = <1>; #size-cells = <1>;
        remaining_attempts@4 { reg = <0x4 0x4>; type = "uint32"; default = <3>; };
        priority@8 { reg = <0x8 0x4>; type = "uint32"; default = <20>; }; };
      B { #address-cells = <1>; #size-cells = <1>;
        remaining_attempts@c { reg = <0xc 0x4>; type = "uint32"; default = <3>; };
        priority@10 { reg = <0x10 0x4>; type = "uint32"; default = <10>; }; };
    };
  };
};
"""

IN_PLACE_OF_UDEV = r"""
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
int of_get_devicepath(void *node, char **path, off_t *offset, size_t *size)
{
	*path = strdup(getenv("STATE_DEVICE"));
	*offset = 0;
	*size = 0;
	return 0;
}
"""


def barebox(path: Path) -> Barebox:
    (path.parent / "cmdline").write_text("quiet bootchooser.active=B\n")
    return Barebox(
        ["A", "B"],
        device=path,
        variables=VARIABLES,
        magic=MAGIC,
        stride=STRIDE,
        command_line=path.parent / "cmdline",
    )


def record(a: tuple[int, int], b: tuple[int, int], magic: int = MAGIC) -> bytes:
    """One bucket with (priority, attempts) of both, by the description."""
    data = struct.pack("<IIIII", 0, a[1], a[0], b[1], b[0])
    head = struct.pack("<IHHI", magic, 0, len(data), zlib.crc32(data))
    whole = head + struct.pack("<I", zlib.crc32(head)) + data
    return struct.pack("<II", 0x2354FDF3, len(whole)) + whole


def put(path: Path, *buckets: bytes) -> None:
    path.write_bytes(b"".join(bucket.ljust(STRIDE, b"\xff") for bucket in buckets))


def slots(state: BootState) -> dict[str, tuple[str, int | None]]:
    return {slot.name: (slot.state.value, slot.tries_left) for slot in state.slots}


@pytest.fixture
def state_tool(tmp_path: Path) -> Callable[..., str]:
    require_tool("barebox-state", "dtc", "gcc")
    (tmp_path / "tree.dts").write_text(TREE)
    (tmp_path / "udev.c").write_text(IN_PLACE_OF_UDEV)
    subprocess.run(
        ["dtc", "-q", "-O", "dtb", "-o", tmp_path / "tree.dtb", tmp_path / "tree.dts"], check=True
    )
    subprocess.run(
        ["gcc", "-shared", "-fPIC", "-o", tmp_path / "udev.so", tmp_path / "udev.c"], check=True
    )

    def run(path: Path, *arguments: str) -> str:
        return subprocess.run(
            ["barebox-state", "-i", tmp_path / "tree.dtb", *arguments],
            env={
                **os.environ,
                "LD_PRELOAD": str(tmp_path / "udev.so"),
                "STATE_DEVICE": str(path),
            },
            check=True,
            capture_output=True,
            text=True,
        ).stdout

    return run


@pytest.mark.interop
def test_we_read_what_barebox_state_writes(tmp_path: Path, state_tool: Callable[..., str]) -> None:
    path = tmp_path / "state"
    path.write_bytes(bytes(4096))
    state_tool(
        path, "-s", "bootstate.A.remaining_attempts=0", "-s", "bootstate.B.remaining_attempts=7"
    )
    state = barebox(path).read()
    assert slots(state) == {"A": ("trying", 0), "B": ("trying", 7)}
    assert (state.primary, state.next) == ("A", "B")
    state_tool(path, "-s", "bootstate.B.priority=0", "-s", "bootstate.A.remaining_attempts=9")
    assert slots(barebox(path).read()) == {"A": ("good", None), "B": ("bad", None)}


@pytest.mark.interop
def test_barebox_state_reads_what_we_write_and_finds_nothing_to_mend(
    tmp_path: Path, state_tool: Callable[..., str]
) -> None:
    path = tmp_path / "state"
    path.write_bytes(bytes(4096))
    state_tool(path, "-s", "bootstate.last_chosen=1")
    ours = barebox(path)
    ours.set_primary("B", 5)
    before = path.read_bytes()
    assert state_tool(path, "-d").splitlines() == [
        "bootstate.last_chosen=1",
        "bootstate.A.remaining_attempts=3",
        "bootstate.A.priority=10",
        "bootstate.B.remaining_attempts=5",
        "bootstate.B.priority=20",
    ]
    ours.mark_good("B")
    ours.mark_bad("A")
    assert f"bootstate.B.remaining_attempts={UNCOUNTED}" in state_tool(path, "-d")
    ours.set_primary("A", 3)
    assert state_tool(path, "-g", "bootstate.A.priority").strip() == "20"
    assert path.read_bytes()[3 * STRIDE :] == before[3 * STRIDE :]
    after = path.read_bytes()
    state_tool(path, "-s", "bootstate.last_chosen=1")
    assert path.read_bytes() == after, "the same values are the same bytes"


@pytest.mark.interop
def test_the_hand_made_bytes_are_those_of_barebox_state(
    tmp_path: Path, state_tool: Callable[..., str]
) -> None:
    path = tmp_path / "state"
    path.write_bytes(bytes(192))
    state_tool(path, "-s", "bootstate.B.remaining_attempts=7")
    assert path.read_bytes()[: len(HAND_MADE)] == HAND_MADE == record((20, 3), (10, 7))


def test_the_hand_made_bytes_are_read(tmp_path: Path) -> None:
    put(tmp_path / "state", HAND_MADE, HAND_MADE, HAND_MADE)
    state = barebox(tmp_path / "state").read()
    assert slots(state) == {"A": ("trying", 3), "B": ("trying", 7)}
    assert state == BootState(state.slots, "A", "A", ())


def test_an_update_that_starts_and_one_that_does_not(tmp_path: Path) -> None:
    path = tmp_path / "state"
    put(path, *[record((20, UNCOUNTED), (10, 3))] * 3)
    ours = barebox(path)
    ours.set_primary("B", 2)
    assert slots(ours.read()) == {"A": ("good", None), "B": ("trying", 2)}
    assert ours.read().next == "B"
    put(path, *[record((10, UNCOUNTED), (20, 0))] * 3)  # bootchooser counted
    assert (ours.read().primary, ours.read().next) == ("B", "A")
    ours.mark_bad("B")
    assert slots(ours.read()) == {"A": ("good", None), "B": ("bad", None)}
    ours.set_primary("B", 1)
    ours.mark_good("B")
    assert slots(ours.read())["B"] == ("good", None)
    assert ours.read().primary == "B"


def test_a_good_slots_boots_do_not_make_it_worth_a_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state"
    put(path, *[record((20, UNCOUNTED - 500), (0, 0))] * 3)
    monkeypatch.setattr(barebox_state, "overwrite", None)  # a write would fail
    barebox(path).mark_good("A")
    barebox(path).mark_bad("B")
    put(path, *[record((20, 2), (10, UNCOUNTED))] * 3)
    barebox(path).set_primary("A", 2)


def test_the_first_valid_bucket_counts_and_torn_ones_are_told(tmp_path: Path) -> None:
    path = tmp_path / "state"
    first, second, third = (record((20, n), (10, n)) for n in (1, 2, 3))
    put(path, first, second, third)
    assert slots(barebox(path).read())["A"] == ("trying", 1)
    put(path, first[:-1] + b"\x55", second, third)
    state = barebox(path).read()
    assert slots(state)["A"] == ("trying", 2)
    assert len(state.warnings) == 1 and "bucket 0" in state.warnings[0]
    put(path, b"", b"", b"")
    before = path.read_bytes()
    for call in (barebox(path).read, lambda: barebox(path).mark_good("A")):
        with pytest.raises(EnvironmentInvalid):
            call()
    assert path.read_bytes() == before


def test_a_bucket_with_a_wrong_header_checksum_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "state"
    first, second = record((20, 1), (10, 1)), record((20, 2), (10, 2))
    for at in (8 + 4, 8 + 12):  # the reserved field, which nothing else covers, and the checksum
        torn = bytearray(first)
        torn[at] ^= 1
        put(path, bytes(torn), second, second)
        assert slots(barebox(path).read())["A"] == ("trying", 2)


def test_buckets_are_written_in_the_order_in_which_barebox_reads_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state"
    put(path, *[record((20, 3), (10, 3))] * 3)
    written: list[int] = []
    monkeypatch.setattr(
        barebox_state, "overwrite", lambda path, offset, data: written.append(offset)
    )
    barebox(path).set_primary("B", 1)
    assert written == [0, STRIDE, 2 * STRIDE]


def test_a_cut_at_any_byte_leaves_before_or_after_whatever_stood_in_the_buckets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Cut(BaseException):
        pass

    path = tmp_path / "state"
    now, older = record((20, UNCOUNTED), (10, 3)), record((10, 3), (20, 1))
    real = barebox_state.overwrite  # type: ignore[attr-defined]
    for buckets in ((now, now, now), (now, older, older), (b"", now, older), (now, b"", older)):
        budget = 0
        finished = False
        while not finished:
            put(path, *buckets)
            old = slots(barebox(path).read())
            left = budget

            def overwrite(target: Path, offset: int, data: bytes) -> None:
                nonlocal left
                real(target, offset, data[:left])
                if len(data) > left:
                    raise Cut
                left -= len(data)

            monkeypatch.setattr(barebox_state, "overwrite", overwrite)
            try:
                barebox(path).set_primary("B", 2)
                finished = True
            except Cut:
                pass
            new = {"A": ("good", None), "B": ("trying", 2)}
            assert slots(barebox(path).read()) in (old, new), (buckets, budget)
            budget += 5
        assert slots(barebox(path).read()) == new
        raw = path.read_bytes()
        assert len({raw[n * STRIDE : n * STRIDE + len(now)] for n in range(3)}) == 1


def test_an_old_state_without_bucket_headers_stays_one(tmp_path: Path) -> None:
    path = tmp_path / "state"
    put(path, *[HAND_MADE[8:]] * 3)
    ours = barebox(path)
    assert slots(ours.read())["B"] == ("trying", 7)
    ours.set_primary("B", 1)
    assert path.read_bytes()[:4] == MAGIC.to_bytes(4, "little")
    assert slots(ours.read())["B"] == ("trying", 1)


def test_another_magic_and_a_short_record_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "state"
    put(path, *[record((1, 1), (1, 1), magic=5)] * 3)
    with pytest.raises(EnvironmentInvalid):
        barebox(path).read()
    data = bytes(4)
    head = struct.pack("<IHHI", MAGIC, 0, 4, zlib.crc32(data))
    put(path, *[head + struct.pack("<I", zlib.crc32(head)) + data] * 3)
    with pytest.raises(EnvironmentInvalid, match="shorter"):
        barebox(path).read()


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_any_damage_is_refused_or_another_bucket_is_read(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("barebox") / "state"
    variants = [record((20, n), (10, n)) for n in (1, 2, 3)]
    put(path, *variants)
    raw = bytearray(path.read_bytes())
    for bit in data.draw(st.lists(st.integers(0, 8 * len(raw) - 1), max_size=6)):
        raw[bit // 8] ^= 1 << bit % 8
    path.write_bytes(raw[: data.draw(st.integers(0, len(raw)))])
    try:
        found = slots(barebox(path).read())
    except EnvironmentInvalid:
        return
    assert found in [{"A": ("trying", n), "B": ("trying", n)} for n in (1, 2, 3)]


def test_of_equal_priorities_the_later_target_boots(tmp_path: Path) -> None:
    # barebox common/bootchooser.c, bootchooser_target_compare: a new one goes before its equals.
    put(tmp_path / "state", *[record((1, 3), (1, 3))] * 3)
    assert barebox(tmp_path / "state").read().next == "B"
    put(tmp_path / "state", *[record((0, 3), (0, 3))] * 3)
    state = barebox(tmp_path / "state").read()
    assert (state.primary, state.next) == (None, None)


def expand(folder: Path, node: dict[str, object]) -> None:
    """Lay a device tree out as files."""
    folder.mkdir(parents=True)
    for name, value in node.items():
        if isinstance(value, dict):
            expand(folder / name, value)
        else:
            assert isinstance(value, bytes)
            (folder / name).write_bytes(value)


def variable(at: int) -> dict[str, object]:
    return {"reg": struct.pack(">II", at, 4), "type": b"uint32\0"}


def tree(**more: object) -> dict[str, object]:
    return {
        "aliases": {"state": b"/state\0"},
        "state": {
            "magic": struct.pack(">I", MAGIC),
            "backend-type": b"raw\0",
            "backend-stridesize": struct.pack(">I", STRIDE),
            "bootstate": {
                "last_chosen@0": variable(0),
                "A": {"remaining_attempts@4": variable(4), "priority@8": variable(8)},
                "B": {"remaining_attempts@c": variable(12), "priority@10": variable(16)},
                "mac@14": {"reg": struct.pack(">II", 20, 6), "type": b"mac\0"},
            },
            **more,
        },
    }


def test_the_layout_is_read_from_the_device_tree(tmp_path: Path) -> None:
    expand(tmp_path / "tree", tree())
    found = layout_of(tmp_path / "tree")
    assert (found.magic, found.stride) == (MAGIC, STRIDE)
    assert dict(found.variables) == {f"bootstate.{name}": at for name, at in VARIABLES.items()}
    path = tmp_path / "state"
    put(path, HAND_MADE, HAND_MADE, HAND_MADE)
    ours = Barebox(["A", "B"], device=path, device_tree=tmp_path / "tree")
    assert slots(ours.read())["B"] == ("trying", 7)
    with pytest.raises(BootSettingInvalid, match=r"bootstate\.C\.priority"):
        Barebox(["A", "C"], device=path, device_tree=tmp_path / "tree").read()


@pytest.mark.parametrize(
    "more",
    [
        {"algo": b"hmac(sha256)\0"},
        {"backend-storage-type": b"circular\0"},
        {"backend-type": b"dtb\0"},
    ],
)
def test_states_of_other_kinds_are_refused(tmp_path: Path, more: dict[str, object]) -> None:
    expand(tmp_path / "tree", tree(**more))
    with pytest.raises(BootSettingInvalid, match="only raw"):
        layout_of(tmp_path / "tree")


def test_a_system_without_a_state_is_named(tmp_path: Path) -> None:
    with pytest.raises(BootloaderMissing):
        layout_of(tmp_path)
    with pytest.raises(BootloaderMissing):
        barebox(tmp_path / "nothing").read()


def test_a_locked_counter_is_told(tmp_path: Path) -> None:
    path = tmp_path / "state"
    put(path, *[record((20, 3), (10, 3))] * 3)
    locked = Barebox(
        ["A", "B"],
        device=path,
        variables={**VARIABLES, "attempts_locked": 8},
        magic=MAGIC,
        stride=STRIDE,
    )
    assert "attempts_locked" in locked.read().warnings[0]


def test_the_running_slot_and_settings_that_make_no_sense(tmp_path: Path) -> None:
    path = tmp_path / "state"
    put(path, HAND_MADE, HAND_MADE, HAND_MADE)
    ours = barebox(path)
    assert (ours.running(), ours.kind, ours.reboot_argument()) == ("B", "barebox", None)
    (tmp_path / "cmdline").write_text("caflip.slot=A")
    assert ours.running() == "A"
    with pytest.raises(SlotUnknown):
        ours.mark_good("C")
    with pytest.raises(BootSettingInvalid):
        ours.set_primary("A", 8)
    for stride, offset in ((0, 0), (64, -1), (1 << 30, 0)):
        with pytest.raises(BootSettingInvalid):
            Barebox(["A"], device=path, offset=offset, variables=VARIABLES, stride=stride)
    with pytest.raises(BootSettingInvalid, match="stride"):
        Barebox(["A"], device=path, variables=VARIABLES, stride=16).read()


def test_a_record_may_fill_its_stride_to_the_byte(tmp_path: Path) -> None:
    path = tmp_path / "state"
    for header, stride in ((8, 36), (0, 44)):
        path.write_bytes(HAND_MADE[header:] * 3)
        tight = Barebox(["A", "B"], device=path, variables=VARIABLES, magic=MAGIC, stride=stride)
        tight.mark_bad("A")
        assert slots(tight.read()) == {"A": ("bad", None), "B": ("trying", 7)}
    with pytest.raises(EnvironmentInvalid):
        Barebox(["A", "B"], device=path, variables=VARIABLES, magic=MAGIC, stride=43).mark_bad("B")


def test_priorities_of_others_stay_where_the_order_stays(tmp_path: Path) -> None:
    path = tmp_path / "state"
    put(path, *[record((21, 3), (20, 3))] * 3)
    barebox(path).mark_good("A")
    assert path.read_bytes()[: len(HAND_MADE)] == record((21, UNCOUNTED), (20, 3))
    barebox(path).mark_bad("A")
    assert path.read_bytes()[: len(HAND_MADE)] == record((0, 0), (20, 3))

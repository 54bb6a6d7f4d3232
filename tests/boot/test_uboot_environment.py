# SPDX-License-Identifier: Apache-2.0
"""U-Boot's environment: fw_printenv, fw_setenv and mkenvimage are asked on both sides."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import random
import subprocess
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from boot import flash, media, storage, uboot_environment
from boot.errors import (
    BootError,
    BootloaderMissing,
    BootSettingInvalid,
    EnvironmentBusy,
    EnvironmentFault,
    EnvironmentInvalid,
)
from boot.flash import Mtd, Ubi, medium_at
from boot.media import Location, Plain
from boot.uboot_environment import StoredEnvironment, parse_config
from tests.boot.flash_chip import ERASE_SIZE, Chip, PowerCut
from tests.capabilities import require_loop_devices, require_tool
from tests.loops import loop_device

SIZE = 0x2000
SAMPLE = {"BOOT_A_OK": "1", "BOOT_ORDER": "A B", "bootcmd": "run x; reset", "ethaddr": "0:1"}

names = st.text(
    st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="="), min_size=1
)
values = st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1, max_size=60)
environments = st.dictionaries(names, values, max_size=12)


def put(environment: StoredEnvironment, changes: Mapping[str, str]) -> bool:
    return environment.change(lambda _: changes)


def single(
    path: Path, variables: Mapping[str, str] = SAMPLE, size: int = SIZE
) -> StoredEnvironment:
    path.write_bytes(image(variables, size))
    return StoredEnvironment([Plain(Location(path, 0, size))], lock=None)


def double(path: Path, *, flags: tuple[int, int] = (1, 0), size: int = SIZE) -> StoredEnvironment:
    newer = image(SAMPLE, size, flags=flags[0])
    path.write_bytes(newer + image({**SAMPLE, "old": "yes"}, size, flags=flags[1]))
    places = [Plain(Location(path, at, size)) for at in (0, size)]
    return StoredEnvironment(places, lock=None)


def image(
    variables: Mapping[str, str], size: int = SIZE, flags: int | None = None, padding: bytes = b"\0"
) -> bytes:
    """Build an environment by the description, not by the code under test."""
    text = b"".join(f"{name}={value}\0".encode() for name, value in sorted(variables.items()))
    header = 4 if flags is None else 5
    body = (text + b"\0").ljust(size - header, padding)
    middle = b"" if flags is None else bytes([flags])
    return zlib.crc32(body).to_bytes(4, "little") + middle + body


# ---- fw_env.config


@pytest.mark.parametrize(
    ("text", "locations"),
    [
        ("/dev/x 0x1000 0x2000", [Location(Path("/dev/x"), 0x1000, 0x2000)]),
        ("# c\n\n/dev/x\t-8192 2000\n", [Location(Path("/dev/x"), -8192, 0x2000)]),
        ("/dev/x 010 0x40 200 2 1", [Location(Path("/dev/x"), 8, 0x40, 0x200, 2)]),
        (
            "/dev/mtd1 0x0 0x4000 0x4000 2\n/dev/mtd2 0x0 0x4000 0x4000 2",
            [Location(Path(f"/dev/mtd{n}"), 0, 0x4000, 0x4000, 2) for n in (1, 2)],
        ),
    ],
)
def test_config_lines_are_read_as_c_reads_them(text: str, locations: list[Location]) -> None:
    assert list(parse_config(text)) == locations


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# only\n",
        "/dev/x 0x0",
        "/dev/x 0x0 zz",
        "/dev/x 0x0 0",
        "/dev/x 0x0 -40",
        "/dev/x 0x0 0x2000 -1",
        "/dev/x 0x0 0xffffffff",
        "/a 0 40\n/b 0 40\n/c 0 40",
        "uboot:\n  size : 0x4000",
    ],
)
def test_config_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(BootSettingInvalid):
        parse_config(text)


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=80))
def test_any_config_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(BootSettingInvalid):
        parse_config(text)


def test_two_copies_have_to_go_together(tmp_path: Path) -> None:
    a, b = (Location(tmp_path / name, 0, SIZE) for name in "ab")
    with pytest.raises(BootSettingInvalid, match="differ"):
        StoredEnvironment([Plain(a), Plain(Location(b.device, 0, SIZE * 2))])
    with pytest.raises(BootSettingInvalid, match="overlap"):
        StoredEnvironment([Plain(a), Plain(Location(a.device, SIZE - 1, SIZE))])


# ---- against the real tools


def config(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "fw_env.config"
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def printenv(configuration: Path) -> dict[str, str]:
    require_tool("fw_printenv")
    run = subprocess.run(
        ["fw_printenv", "-c", configuration], capture_output=True, text=True, check=True
    )
    return dict(line.split("=", 1) for line in run.stdout.splitlines())


def setenv(configuration: Path, name: str, value: str) -> None:
    subprocess.run(["fw_setenv", "-c", configuration, name, value], check=True)


def mkenvimage(tmp_path: Path, variables: Mapping[str, str], *options: str) -> bytes:
    require_tool("mkenvimage")
    text = "".join(f"{name}={value}\n" for name, value in sorted(variables.items()))
    made = tmp_path / "made.env"
    subprocess.run(
        ["mkenvimage", "-s", hex(SIZE), *options, "-o", made, "-"],
        input=text.encode(),
        check=True,
    )
    return made.read_bytes()


def test_a_single_copy_is_byte_for_byte_what_mkenvimage_makes(tmp_path: Path) -> None:
    environment = single(tmp_path / "env", {"x": "y"})
    assert put(environment, SAMPLE)
    assert (tmp_path / "env").read_bytes() == mkenvimage(
        tmp_path, {**SAMPLE, "x": "y"}, "-p", "0x0"
    )


def test_a_redundant_copy_is_byte_for_byte_what_mkenvimage_makes(tmp_path: Path) -> None:
    environment = double(tmp_path / "env", flags=(0, 255))  # 0 comes after 255, 1 follows
    assert put(environment, {"BOOT_ORDER": "B A"})
    made = mkenvimage(tmp_path, {**SAMPLE, "BOOT_ORDER": "B A"}, "-p", "0x0", "-r")
    assert (tmp_path / "env").read_bytes()[SIZE:] == made


def test_the_padding_of_mkenvimage_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "env"
    environment = single(path)
    path.write_bytes(mkenvimage(tmp_path, SAMPLE))
    assert put(environment, {"BOOT_A_OK": "0"})
    assert path.read_bytes() == mkenvimage(tmp_path, {**SAMPLE, "BOOT_A_OK": "0"})


@pytest.mark.parametrize("copies", [1, 2])
def test_fw_printenv_and_we_read_what_the_other_wrote(tmp_path: Path, copies: int) -> None:
    path = tmp_path / "env"
    (single if copies == 1 else double)(path)
    configuration = config(tmp_path, *(f"{path} {n * SIZE:#x} {SIZE:#x}" for n in range(copies)))
    environment = StoredEnvironment.configured(configuration, lock=None)
    expected = dict(SAMPLE)
    for round_ in range(5):
        put(environment, {"BOOT_ORDER": f"B {round_}", "a new one": "with = in it"})
        expected |= {"BOOT_ORDER": f"B {round_}", "a new one": "with = in it"}
        assert printenv(configuration) == expected
        setenv(configuration, "BOOT_A_LEFT", str(round_))
        expected["BOOT_A_LEFT"] = str(round_)
        assert environment.read().variables == expected
        assert not environment.read().warnings


FLAGS = (0, 1, 2, 127, 128, 254, 255)


@pytest.mark.parametrize("first", FLAGS)
def test_the_same_copy_is_in_force_as_for_fw_printenv(tmp_path: Path, first: int) -> None:
    path = tmp_path / "env"
    configuration = config(tmp_path, f"{path} 0x0 {SIZE:#x}", f"{path} {SIZE:#x} {SIZE:#x}")
    for second in FLAGS:
        environment = double(path, flags=(first, second))
        assert environment.read().variables == printenv(configuration), (first, second)


def test_what_fw_printenv_refuses_is_refused(tmp_path: Path) -> None:
    require_tool("fw_printenv")
    path = tmp_path / "env"
    environment = double(path)
    raw = bytearray(path.read_bytes())
    raw[100] ^= 1
    raw[SIZE + 100] ^= 1
    path.write_bytes(raw)
    configuration = config(tmp_path, f"{path} 0x0 {SIZE:#x}", f"{path} {SIZE:#x} {SIZE:#x}")
    run = subprocess.run(["fw_printenv", "-c", configuration], capture_output=True, check=False)
    assert run.returncode != 0
    with pytest.raises(EnvironmentInvalid):
        environment.read()
    with pytest.raises(EnvironmentInvalid):
        put(environment, {"x": "y"})
    assert path.read_bytes() == raw


@pytest.mark.root
def test_a_block_device_is_read_and_written_from_its_end(tmp_path: Path) -> None:
    require_loop_devices()
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(1 << 20))
    with loop_device(disk) as device:
        with open(device, "r+b") as file:
            file.seek((1 << 20) - 2 * SIZE)
            file.write(image(SAMPLE, flags=7) + image(SAMPLE, flags=6))
        configuration = config(
            tmp_path, f"{device} -{2 * SIZE:#x} {SIZE:#x}", f"{device} -{SIZE:#x} {SIZE:#x}"
        )
        environment = StoredEnvironment.configured(configuration, lock=None)
        put(environment, {"BOOT_ORDER": "B"})
        assert environment.read().current == 1
        assert printenv(configuration) == {**SAMPLE, "BOOT_ORDER": "B"}


# ---- one copy


def test_whoever_may_not_take_roots_lock_takes_one_of_his_own_for_an_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, copy = tmp_path / "lock", tmp_path / "env"
    copy.write_bytes(image({"a": "1"}))
    configuration = config(tmp_path, f"{copy} 0 {SIZE:#x}")
    real = os.open

    def refuse(path: Path, *arguments: int) -> int:
        if path == lock:
            raise PermissionError(errno.EACCES, "Permission denied")
        return real(path, *arguments)

    monkeypatch.setattr("os.open", refuse)
    monkeypatch.setattr("boot.uboot_environment.LOCK_TIMEOUT_S", 0.0)
    environment = StoredEnvironment.configured(configuration, lock=lock)
    assert put(environment, {"a": "2"})
    with configuration.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(EnvironmentBusy):
            put(environment, {"a": "3"})
    assert environment.read().variables == {"a": "2"}


def test_without_a_folder_for_the_lock_it_is_written_all_the_same(tmp_path: Path) -> None:
    copy = tmp_path / "env"
    copy.write_bytes(image({"a": "1"}))
    configuration = config(tmp_path, f"{copy} 0 {SIZE:#x}")
    environment = StoredEnvironment.configured(configuration, lock=tmp_path / "none/lock")
    assert put(environment, {"a": "2"})
    assert environment.read().variables == {"a": "2"}


@settings(max_examples=60, deadline=None)
@given(environments, environments)
def test_any_environment_comes_back(
    tmp_path_factory: pytest.TempPathFactory, before: dict[str, str], changes: dict[str, str]
) -> None:
    environment = single(tmp_path_factory.mktemp("env") / "env", before)
    put(environment, changes)
    assert environment.read().variables == {**before, **changes}
    assert not put(environment, changes)


def test_foreign_bytes_and_entries_are_carried_along(tmp_path: Path) -> None:
    path = tmp_path / "env"
    environment = single(path)
    text = b"odd\0empty=\0latin=\xe4\xff\0twice=1\0twice=2\0"
    body = text.ljust(SIZE - 4, b"\0")
    path.write_bytes(zlib.crc32(body).to_bytes(4, "little") + body)
    assert environment.read().variables["latin"] == "\udce4\udcff"
    assert environment.read().variables["twice"] == "2"
    assert "empty" not in environment.read().variables
    put(environment, {"zz": "1"})
    assert path.read_bytes()[4:].startswith(text + b"zz=1\0\0")


def test_what_does_not_fit_is_said_and_not_written(tmp_path: Path) -> None:
    path = tmp_path / "env"
    environment = single(path)
    before = path.read_bytes()
    with pytest.raises(EnvironmentFault, match="full"):
        put(environment, {"long": "x" * SIZE})
    assert path.read_bytes() == before
    room = SIZE - 4 - 1 - sum(len(f"{n}={v}\0") for n, v in SAMPLE.items()) - len("long=\0")
    assert put(environment, {"long": "x" * room})
    assert environment.read().variables["long"] == "x" * room
    with pytest.raises(EnvironmentFault, match="full"):
        put(environment, {"long": "x" * (room + 1)})


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[int, int]]]:
    """Offset and length of every write in place."""
    seen: list[tuple[int, int]] = []
    real = storage.overwrite

    def overwrite(path: Path, offset: int, data: bytes) -> None:
        seen.append((offset, len(data)))
        real(path, offset, data)

    monkeypatch.setattr(media, "overwrite", overwrite)
    yield seen


def test_what_changes_nothing_writes_nothing(tmp_path: Path, writes: list[tuple[int, int]]) -> None:
    for environment in (single(tmp_path / "one"), double(tmp_path / "two")):
        assert not put(environment, SAMPLE)
        assert not put(environment, {})
    assert writes == []


def test_a_change_of_equal_length_in_a_single_copy_writes_one_sector(
    tmp_path: Path, writes: list[tuple[int, int]]
) -> None:
    environment = single(tmp_path / "env", {**SAMPLE, "zzz": "x" * 4000})
    put(environment, {"BOOT_ORDER": "B A", "BOOT_A_OK": "0"})
    assert writes == [(0, 512)]
    (weakness,) = environment.weaknesses()
    assert "one sector" in weakness


def test_a_single_copy_with_our_variables_far_behind_says_that_it_can_be_torn(
    tmp_path: Path,
) -> None:
    environment = single(tmp_path / "env", {**SAMPLE, "AAA": "x" * 1000})
    (weakness,) = environment.weaknesses()
    assert "can tear it" in weakness
    assert double(tmp_path / "two").weaknesses() == ()


def test_a_file_that_ends_too_early_is_invalid_and_not_made_longer(tmp_path: Path) -> None:
    path = tmp_path / "env"
    environment = single(path)
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(EnvironmentInvalid):
        environment.read()
    with pytest.raises(EnvironmentInvalid):
        put(environment, {"x": "y"})
    assert path.stat().st_size == SIZE - 1


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_damaged_single_copy_is_refused(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("env") / "env"
    environment = single(path)
    raw = bytearray(path.read_bytes())
    bit = data.draw(st.integers(0, 8 * SIZE - 1))
    raw[bit // 8] ^= 1 << bit % 8
    path.write_bytes(raw)
    with pytest.raises(EnvironmentInvalid):
        environment.read()


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 255))
def test_any_content_with_a_right_checksum_is_read(
    tmp_path_factory: pytest.TempPathFactory, text: bytes, padding: int
) -> None:
    path = tmp_path_factory.mktemp("env") / "env"
    environment = single(path, size=256)
    body = text.ljust(252, bytes([padding]))
    path.write_bytes(zlib.crc32(body).to_bytes(4, "little") + body)
    before = dict(environment.read().variables)
    try:
        put(environment, {"x": "y"})
    except EnvironmentFault:
        assert environment.read().variables == before
    else:
        assert environment.read().variables == {**before, "x": "y"}


# ---- two copies


def test_the_older_copy_is_written_and_the_serial_goes_round(tmp_path: Path) -> None:
    path = tmp_path / "env"
    environment = double(path, flags=(254, 253))
    for number, (expected, current) in enumerate([(255, 1), (0, 0), (1, 1), (2, 0)]):
        before = path.read_bytes()
        put(environment, {"n": str(number + 1)})
        after = path.read_bytes()
        assert after[current * SIZE + 4] == expected
        other = slice((1 - current) * SIZE, (2 - current) * SIZE)
        assert after[other] == before[other]
        assert environment.read().current == current


@pytest.mark.parametrize("torn", [0, 1])
def test_a_torn_copy_is_told_and_mended_by_the_next_write(tmp_path: Path, torn: int) -> None:
    path = tmp_path / "env"
    environment = double(path, flags=(3, 3))
    raw = bytearray(path.read_bytes())
    raw[torn * SIZE + 4000] ^= 0x10
    path.write_bytes(raw)
    found = environment.read()
    assert found.current == 1 - torn
    (warning,) = found.warnings
    assert f"copy {torn}" in warning
    assert put(environment, {"n": "1"})
    assert environment.read().warnings == ()
    assert environment.read().variables["n"] == "1"


def test_a_cut_at_any_byte_or_between_any_sectors_leaves_before_or_after(tmp_path: Path) -> None:
    path = tmp_path / "env"
    for flags in ((1, 0), (255, 254), (0, 255), (7, 7)):
        environment = double(path, flags=flags)
        before = path.read_bytes()
        old = dict(environment.read().variables)
        put(environment, {"BOOT_ORDER": "B A", "long": "y" * 3000})
        after = path.read_bytes()
        new = dict(environment.read().variables)
        assert new["BOOT_ORDER"] == "B A"
        changed = [at for at in range(2 * SIZE) if before[at] != after[at]]
        cuts = [after] + [after[:at] + before[at:] for at in changed[:: max(1, len(changed) // 60)]]
        random_ = random.Random(1)
        for _ in range(60):
            mixed = bytearray(before)
            for at in range(0, 2 * SIZE, 512):
                if random_.random() < 0.5:
                    mixed[at : at + 512] = after[at : at + 512]
            cuts.append(bytes(mixed))
        seen = set()
        for cut in cuts:
            path.write_bytes(cut)
            found = dict(environment.read().variables)
            assert found in (old, new)
            seen.add(found == new)
        assert seen == {True, False}


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_damage_to_both_copies_is_refused_or_leaves_one_of_them(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = tmp_path_factory.mktemp("env") / "env"
    environment = double(path, size=256)
    raw = bytearray(path.read_bytes())
    for bit in data.draw(st.lists(st.integers(0, 8 * 512 - 1), max_size=4)):
        raw[bit // 8] ^= 1 << bit % 8
    path.write_bytes(raw[: data.draw(st.integers(0, 512))] if data.draw(st.booleans()) else raw)
    try:
        found = environment.read().variables
    except EnvironmentInvalid:
        return
    assert found in (SAMPLE, {**SAMPLE, "old": "yes"})


def test_a_copy_that_cannot_be_read_is_a_torn_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment = double(tmp_path / "env")
    real = storage.read_at

    def broken(path: Path, offset: int, length: int) -> bytes:
        if offset == 0 and length == SIZE:
            raise EnvironmentFault("EIO")
        return real(path, offset, length)

    monkeypatch.setattr(media, "read_at", broken)
    assert environment.read().variables["old"] == "yes"
    assert environment.read().warnings
    only = single(tmp_path / "one")
    with pytest.raises(EnvironmentFault):
        only.read()


# ---- raw flash: a chip in a file, not a kernel's MTD


def chips(
    tmp_path: Path, kind: int, blocks: int = 2, sectors: int = 0
) -> tuple[list[Chip], StoredEnvironment]:
    made = [Chip(tmp_path / f"mtd{n}", blocks, kind) for n in (0, 1)]
    places = [Mtd(Location(chip.path, 0, SIZE, 0, sectors), chip) for chip in made]
    flags = (1, 0) if kind == flash.NOR_FLASH else (8, 7)
    for place, variables, flag in zip(places, (SAMPLE, {"old": "yes"}), flags, strict=True):
        place.write(image(variables, flags=flag))
    for chip in made:
        chip.done.clear()
    return made, StoredEnvironment(places, lock=None)


def test_on_nor_the_new_copy_is_whole_before_the_old_one_is_obsolete(tmp_path: Path) -> None:
    (first, second), environment = chips(tmp_path, flash.NOR_FLASH)
    put(environment, {"n": "1"})
    assert second.done == ["erase 0x0", "write 0x0", "erase 0x1000", "write 0x1000"]
    assert first.done == ["write 0x4"]
    assert (first.path.read_bytes()[4], second.path.read_bytes()[4]) == (0, 1)
    assert environment.read().current == 1
    put(environment, {"n": "2"})
    assert (first.path.read_bytes()[4], second.path.read_bytes()[4]) == (1, 0)
    assert environment.read().variables == {**SAMPLE, "n": "2"}


def test_on_nand_bad_blocks_are_passed_over_and_copies_numbered(tmp_path: Path) -> None:
    (first, second), environment = chips(tmp_path, flash.NAND_FLASH, blocks=4, sectors=4)
    second.bad = {1}
    put(environment, {"n": "1"})
    assert second.done == ["erase 0x0", "write 0x0", "erase 0x2000", "write 0x2000"]
    assert first.done == []
    assert second.path.read_bytes()[4] == 9
    assert environment.read().variables == {**SAMPLE, "n": "1"}
    first.bad = {0, 1, 2}
    with pytest.raises(EnvironmentFault, match="eraseblocks"):
        put(environment, {"n": "2"})


@pytest.mark.parametrize("kind", [flash.NOR_FLASH, flash.NAND_FLASH])
@pytest.mark.parametrize("turn", [0, 1])
def test_a_cut_in_any_flash_operation_leaves_before_or_after(
    tmp_path: Path, kind: int, turn: int
) -> None:
    seen = set()
    for cut in range(6):
        made, environment = chips(tmp_path, kind)
        if turn:
            put(environment, {"turn": "1"})
        old = dict(environment.read().variables)
        for chip in made:
            chip.done.clear()
        current = environment.read().current
        order = [made[1 - current], made[current]]
        order[0].cut_after = cut if cut < 4 else None
        order[1].cut_after = cut - 4 if cut >= 4 else None
        with contextlib.suppress(PowerCut):
            put(environment, {"n": "1"})
        found = dict(environment.read().variables)
        assert found in (old, {**old, "n": "1"}), cut
        seen.add(found == old)
        for chip in made:
            chip.cut_after = None
        put(environment, {"n": "2"})
        assert environment.read().variables["n"] == "2"
        assert environment.read().warnings == ()
    assert True in seen


def test_what_shares_the_last_nor_eraseblock_survives(tmp_path: Path) -> None:
    chip = Chip(tmp_path / "mtd0", 2)
    place = Mtd(Location(chip.path, 0, 0x1800), chip)
    raw = bytearray(chip.path.read_bytes())
    raw[0x1900:0x1910] = b"somebody else's "
    chip.path.write_bytes(raw)
    place.write(image(SAMPLE, 0x1800, flags=1))
    assert chip.path.read_bytes()[0x1900:0x1910] == b"somebody else's "
    assert place.read() == image(SAMPLE, 0x1800, flags=1)


def test_flash_that_does_not_take_what_is_written_is_a_fault(tmp_path: Path) -> None:
    class Stuck(Chip):
        def pwrite(self, fd: int, data: bytes, offset: int) -> int:
            return super().pwrite(fd, bytes([data[0] & 0xFE]) + data[1:], offset)

    chip = Stuck(tmp_path / "mtd0", 2)
    data = image(SAMPLE, flags=1)
    data = bytes([data[0] | 1]) + data[1:]
    with pytest.raises(EnvironmentFault, match="reads back"):
        Mtd(Location(chip.path, 0, SIZE), chip).write(data)


def test_flash_of_other_kinds_and_odd_offsets_are_refused(tmp_path: Path) -> None:
    chip = Chip(tmp_path / "mtd0", 2, kind=1)
    with pytest.raises(BootSettingInvalid, match="type 1"):
        Mtd(Location(chip.path, 0, SIZE), chip)
    chip.kind = flash.NOR_FLASH
    with pytest.raises(BootSettingInvalid, match="eraseblocks"):
        Mtd(Location(chip.path, ERASE_SIZE // 2, SIZE), chip)


@pytest.mark.parametrize(
    ("first", "second", "current"),
    # U-Boot env/flash.c (env_flash_init), and tools/env/fw_env.c for the rest.
    [
        (1, 0, 0),
        (0, 1, 1),
        (1, 1, 0),
        (0, 0, 0),
        (255, 1, 0),
        (1, 255, 1),
        (255, 255, 0),
        (5, 1, 0),
    ],
)
def test_on_nor_the_copy_in_force_is_uboots(
    tmp_path: Path, first: int, second: int, current: int
) -> None:
    made, environment = chips(tmp_path, flash.NOR_FLASH)
    for chip, flag in zip(made, (first, second), strict=True):
        raw = bytearray(chip.path.read_bytes())
        raw[4] = flag
        chip.path.write_bytes(raw)
    assert environment.read().current == current


def test_a_ubi_volume_is_announced_before_it_is_written(tmp_path: Path) -> None:
    told: list[tuple[int, bytes]] = []

    class Volume(flash.Calls):
        def ioctl(self, fd: int, request: int, argument: bytearray) -> int:
            told.append((request, bytes(argument)))
            return 0

    paths = [tmp_path / "ubi0_0", tmp_path / "ubi0_1"]
    for path, flags in zip(paths, (1, 0), strict=True):
        path.write_bytes(image(SAMPLE, flags=flags))
    environment = StoredEnvironment(
        [Ubi(Location(path, 0, SIZE), Volume()) for path in paths], lock=None
    )
    put(environment, {"n": "1"})
    assert told == [(flash.UBI_IOCVOLUP, SIZE.to_bytes(8, "little"))]
    assert paths[1].read_bytes()[4] == 2
    with pytest.raises(BootSettingInvalid):
        Ubi(Location(paths[0], 512, SIZE))


def test_a_ubi_volume_is_found_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sys/ubi0_3").mkdir(parents=True)
    (tmp_path / "sys/ubi0_3/name").write_text("env2\n")
    (tmp_path / "ubi0_3").write_bytes(b"")
    monkeypatch.setattr(flash, "SYS_UBI", tmp_path / "sys")
    found = medium_at(Location(tmp_path / "ubi0:env2", 0, SIZE))
    assert found.location.device == tmp_path / "ubi0_3"
    with pytest.raises(BootSettingInvalid, match="no volume"):
        medium_at(Location(tmp_path / "ubi0:env3", 0, SIZE))


# ---- places and their peculiarities


def test_missing_and_strange_devices_are_named(tmp_path: Path) -> None:
    with pytest.raises(BootloaderMissing):
        StoredEnvironment.configured(tmp_path / "fw_env.config")
    with pytest.raises(BootloaderMissing):
        StoredEnvironment.configured(config(tmp_path, f"{tmp_path}/nothing 0x0 0x2000"))
    with pytest.raises(BootSettingInvalid, match="neither"):
        StoredEnvironment.configured(config(tmp_path, "/dev/null 0x0 0x2000"))
    (tmp_path / "short").write_bytes(b"x")
    with pytest.raises(BootSettingInvalid, match="shorter"):
        StoredEnvironment.configured(config(tmp_path, f"{tmp_path}/short -0x2000 0x2000"))


def test_a_whole_file_on_fat_is_replaced_by_a_rename(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "uboot.env"
    environment = single(path)
    assert environment.in_place
    device = path.stat().st_dev
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"1 1 {os.major(device)}:{os.minor(device)} / /x rw - vfat /dev/x rw\n")
    monkeypatch.setattr(media, "MOUNTS", mounts)
    assert not environment.in_place
    assert environment.weaknesses() == ()
    number = path.stat().st_ino
    assert put(environment, {"n": "1"})
    assert path.stat().st_ino != number
    assert environment.read().variables["n"] == "1"


def test_the_protection_of_emmc_boot_partitions_is_lifted_for_the_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    switch = tmp_path / "sys/mmcblk0boot0/force_ro"
    switch.parent.mkdir(parents=True)
    switch.write_text("1\n")
    monkeypatch.setattr(media, "SYS_BLOCK", tmp_path / "sys")
    environment = single(tmp_path / "mmcblk0boot0")
    seen = []
    real = storage.overwrite

    def overwrite(path: Path, offset: int, data: bytes) -> None:
        seen.append(switch.read_text())
        real(path, offset, data)

    monkeypatch.setattr(media, "overwrite", overwrite)
    put(environment, {"n": "1"})
    assert seen == ["0\n"]
    assert switch.read_text() == "1\n"


def test_nobody_writes_across_fw_setenv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uboot_environment, "LOCK_TIMEOUT_S", 0.0)
    lock = tmp_path / "lock"
    path = tmp_path / "env"
    single(path)
    before = path.read_bytes()
    environment = StoredEnvironment([Plain(Location(path, 0, SIZE))], lock=lock)
    with open(lock, "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(EnvironmentFault, match="held"):
            put(environment, {"n": "1"})
        assert path.read_bytes() == before
    assert put(environment, {"n": "1"})


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=600))
def test_any_bytes_are_an_environment_or_a_boot_error(
    tmp_path_factory: pytest.TempPathFactory, raw: bytes
) -> None:
    path = tmp_path_factory.mktemp("env") / "env"
    environment = single(path, size=512)
    path.write_bytes(raw)
    with pytest.raises(BootError):
        environment.read()

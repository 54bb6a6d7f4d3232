# SPDX-License-Identifier: Apache-2.0
"""EFI variables over plain files; load options against efibootmgr and virt-firmware."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from boot import efivars, load_option
from boot.efivars import GLOBAL, LOADER, EfiVariables
from boot.errors import BootloaderMissing, EnvironmentFault, EnvironmentInvalid
from boot.load_option import Partition
from tests.capabilities import require_module, require_root, require_tool

PARTITION = Partition(2, 2048, 65536, UUID("0a0b0c0d-0102-0304-0506-0708090a0b0c"))


@pytest.fixture
def variables(tmp_path: Path) -> EfiVariables:
    return EfiVariables(tmp_path)


def test_a_variable_is_attributes_and_value(variables: EfiVariables) -> None:
    variables.write("BootNext", GLOBAL, b"\x0b\x00")
    path = variables.folder / f"BootNext-{GLOBAL}"
    assert path.read_bytes() == b"\x07\x00\x00\x00\x0b\x00"
    assert variables.read("BootNext", GLOBAL) == b"\x0b\x00"
    assert variables.names(GLOBAL) == ["BootNext"]
    assert variables.names(LOADER) == []
    variables.delete("BootNext", GLOBAL)
    variables.delete("BootNext", GLOBAL)
    assert variables.read("BootNext", GLOBAL) is None


def test_a_shorter_value_leaves_no_tail(variables: EfiVariables) -> None:
    variables.write("BootOrder", GLOBAL, b"\1\0\2\0")
    variables.write("BootOrder", GLOBAL, b"\2\0")
    assert variables.read("BootOrder", GLOBAL) == b"\2\0"


def test_each_change_is_one_write_and_no_change_is_none(
    variables: EfiVariables, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []
    real = os.write

    def recording(fd: int, data: bytes) -> int:
        written.append(bytes(data))
        return real(fd, data)

    monkeypatch.setattr(os, "write", recording)
    for value in ("slot-a", "slot-a", "slot-b"):
        variables.write_text("LoaderEntryDefault", LOADER, value)
    assert written == [
        b"\7\0\0\0" + efivars.encoded("slot-a"),
        b"\7\0\0\0" + efivars.encoded("slot-b"),
    ]
    assert variables.read_text("LoaderEntryDefault", LOADER) == "slot-b"


def test_a_short_write_is_a_fault(variables: EfiVariables, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "write", lambda fd, data: len(data) - 1)
    with pytest.raises(EnvironmentFault):
        variables.write("BootNext", GLOBAL, b"\1\0")


def test_the_immutable_flag_is_taken_away_and_put_back(
    variables: EfiVariables, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags, calls = {"now": efivars.FS_IMMUTABLE_FL | 0x80000}, []

    def set_flags(path: Path, value: int) -> None:
        calls.append(value)
        flags["now"] = value

    variables.write("LoaderEntryDefault", LOADER, b"a\0\0\0")
    monkeypatch.setattr(efivars, "inode_flags", lambda path: flags["now"])
    monkeypatch.setattr(efivars, "set_inode_flags", set_flags)
    variables.write("LoaderEntryDefault", LOADER, b"b\0\0\0")
    assert calls == [0x80000, efivars.FS_IMMUTABLE_FL | 0x80000]
    variables.delete("LoaderEntryDefault", LOADER)
    assert calls[2:] == [0x80000]


@pytest.fixture
def immutable_folder(tmp_path: Path) -> Iterator[Path]:
    require_root()
    require_tool("chattr")
    probe = tmp_path / "probe"
    probe.write_bytes(b"")
    if subprocess.run(["chattr", "+i", probe], capture_output=True).returncode != 0:
        pytest.skip("missing: a file system with the immutable flag")
    subprocess.run(["chattr", "-i", probe], check=True)
    folder = tmp_path / "efivars"
    folder.mkdir()
    yield folder
    for path in folder.iterdir():
        subprocess.run(["chattr", "-i", path], check=True)


@pytest.mark.root
def test_a_file_that_is_immutable_indeed_is_written(immutable_folder: Path) -> None:
    variables = EfiVariables(immutable_folder)
    variables.write("LoaderEntryOneShot", LOADER, b"a\0\0\0")
    path = immutable_folder / f"LoaderEntryOneShot-{LOADER}"
    subprocess.run(["chattr", "+i", path], check=True)
    with pytest.raises(OSError):
        path.write_bytes(b"")
    variables.write("LoaderEntryOneShot", LOADER, b"b\0\0\0")
    assert variables.read("LoaderEntryOneShot", LOADER) == b"b\0\0\0"
    listed = subprocess.run(["lsattr", path], capture_output=True, text=True, check=True).stdout
    assert "i" in listed.split()[0]
    variables.delete("LoaderEntryOneShot", LOADER)
    assert variables.read("LoaderEntryOneShot", LOADER) is None


def test_damage_and_absence_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(BootloaderMissing, match="no UEFI variables"):
        EfiVariables(tmp_path / "none").read("BootOrder", GLOBAL)
    for data in (b"", b"\7\0\0", bytes(efivars.LENGTH_LIMIT + 1)):
        (tmp_path / f"BootOrder-{GLOBAL}").write_bytes(data)
        with pytest.raises(EnvironmentInvalid):
            EfiVariables(tmp_path).read("BootOrder", GLOBAL)


def test_the_numbers_of_the_system_calls_are_the_kernels() -> None:
    # x86-64, as `strace lsattr` and `strace chattr` show them.
    if efivars._LONG == 8 << 16:
        assert (efivars.FS_IOC_GETFLAGS, efivars.FS_IOC_SETFLAGS) == (0x80086601, 0x40086602)


TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40)


@given(TEXTS, TEXTS, st.none() | TEXTS)
def test_a_load_option_comes_back(description: str, file: str, line: str | None) -> None:
    option = load_option.parse(load_option.build(description, file, PARTITION, line))
    assert option is not None
    assert (option.description, option.file) == (description, file.replace("/", "\\"))
    assert (option.partition, option.active) == (PARTITION, True)
    assert option.command_line == line


@given(st.binary(max_size=120), st.integers(0, 200), st.integers(0, 255))
def test_a_damaged_load_option_raises_nothing(noise: bytes, cut: int, flip: int) -> None:
    load_option.parse(noise)
    value = bytearray(load_option.build("slot a", "\\EFI\\a.efi", PARTITION, "ro"))
    value[cut % len(value)] ^= flip
    load_option.parse(bytes(value))
    load_option.parse(bytes(value[:cut]))


def test_efibootmgr_reads_what_we_write(tmp_path: Path) -> None:
    require_tool("efibootmgr")
    variables = EfiVariables(tmp_path)
    value = load_option.build("slot a", "/EFI/caflip/a.efi", PARTITION, "root=/dev/x ro")
    variables.write("Boot000A", GLOBAL, value)
    variables.write("BootOrder", GLOBAL, b"\x0a\0\3\0")
    variables.write("BootNext", GLOBAL, b"\x0a\0")
    listed = subprocess.run(
        ["efibootmgr", "-v"],
        env=os.environ | {"EFIVARFS_PATH": f"{tmp_path}/"},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout
    assert "BootNext: 000A\nBootOrder: 000A,0003\nBoot000A* slot a" in listed
    drive = "HD(2,GPT,0a0b0c0d-0102-0304-0506-0708090a0b0c,0x800,0x10000)"
    assert f"{drive}/File(\\EFI\\caflip\\a.efi)" in listed


def test_virt_firmware_reads_what_we_write() -> None:
    require_module("virt.firmware")
    from virt.firmware.efi import bootentry  # type: ignore[import-untyped]

    value = load_option.build("slot a", "/EFI/caflip/a.efi", PARTITION, "root=/dev/x ro")
    entry = bootentry.BootEntry(data=value)
    assert str(entry.title) == "slot a"
    assert str(entry.devicepath) == ("Partition(nr=2)/FilePath(\\EFI\\caflip\\a.efi)")
    assert entry.optdata == "root=/dev/x ro\0".encode("utf-16-le")

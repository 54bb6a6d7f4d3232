# SPDX-License-Identifier: Apache-2.0
"""Which bootloader it is, on systems laid out as files, and backends from configuration values."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import cast

import pytest

from boot.bootloader import Bootloader
from boot.detect import (
    BACKENDS,
    BOOT_CURRENT,
    EFIVARS,
    LOADER_INFO,
    Backend,
    detect,
    open_bootloader,
)
from boot.errors import BootSettingInvalid


def lay(root: Path, files: dict[str, bytes | str]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def info(text: str) -> bytes:
    return b"\7\0\0\0" + text.encode("utf-16-le") + b"\0\0"


UEFI = {f"{EFIVARS}/{BOOT_CURRENT}": b"\6\0\0\0\x03\0"}
SYSTEMD_BOOT = UEFI | {f"{EFIVARS}/{LOADER_INFO}": info("systemd-boot 252.39")}
GRUB = {"boot/grub/grubenv": "x", "proc/cmdline": "BOOT_IMAGE=/vmlinuz root=/dev/x"}
UBOOT = {"etc/fw_env.config": "/dev/x 0 4000", "proc/cmdline": "root=/dev/x"}
PI = {
    "proc/device-tree/model": b"Raspberry Pi 4 Model B Rev 1.4\0",
    "boot/firmware/autoboot.txt": "[all]\ntryboot_a_b=1\nboot_partition=2\n",
}
BAREBOX = {
    "proc/device-tree/aliases/state": b"/state\0",
    "proc/device-tree/state/compatible": b"barebox,state\0",
}


@pytest.mark.parametrize(
    ("files", "kind", "word"),
    [
        ({}, None, "no trace"),
        (UEFI, "uefi", "Boot0003"),
        (SYSTEMD_BOOT, "systemd-boot", "systemd-boot 252"),
        (SYSTEMD_BOOT | GRUB, "systemd-boot", "LoaderInfo"),
        (UEFI | GRUB, "grub", "boot/grub/grubenv"),
        (UEFI | {f"{EFIVARS}/{LOADER_INFO}": info("GRUB 2.13")} | GRUB, "grub", "grubenv"),
        ({"boot/grub2/grubenv": "x"}, "grub", "grub2"),
        ({"boot/efi/EFI/fedora/grubenv": "x"}, "grub", "EFI/fedora"),
        (UBOOT, "uboot", "fw_env.config"),
        (GRUB | UBOOT, "uboot", "fw_env.config"),
        (UBOOT | GRUB, "grub", "BOOT_IMAGE"),
        ({"proc/device-tree/chosen/u-boot,version": b"2024.01\0"}, "uboot", "2024.01"),
        (PI, "raspberrypi", "Pi 4"),
        (PI | {"boot/firmware/autoboot.txt": "[all]\n"} | UBOOT, "uboot", "fw_env"),
        ({"boot/autoboot.txt": "tryboot_a_b=1"}, None, "no trace"),
        (BAREBOX, "barebox", "alias"),
        ({"proc/cmdline": "bootstate.active=system0"}, "barebox", "bootstate.active"),
        ({"proc/device-tree/chosen/barebox-version": b"2023.01\0"}, "barebox", "2023.01"),
    ],
)
def test_the_bootloader_is_told_from_what_is_there(
    tmp_path: Path, files: dict[str, bytes | str], kind: str | None, word: str
) -> None:
    found = detect(lay(tmp_path, files))
    assert found.kind == kind
    assert word in found.reason
    assert bool(found.evidence) == (kind is not None)


def test_what_else_was_seen_is_told(tmp_path: Path) -> None:
    found = detect(lay(tmp_path, UEFI | GRUB))
    assert [evidence.kind for evidence in found.evidence] == ["grub", "uefi"]


def test_damaged_files_do_no_harm(tmp_path: Path) -> None:
    files: dict[str, bytes | str] = {
        f"{EFIVARS}/{LOADER_INFO}": b"\7",
        f"{EFIVARS}/{BOOT_CURRENT}": b"",
        "proc/device-tree/model": b"\xff\xfe",
        "proc/device-tree/aliases/state": b"/../../..\0",
        "proc/cmdline": b"\xff=\xff",
    }
    assert detect(lay(tmp_path, files)).kind is None


def test_this_machine_can_be_looked_at() -> None:
    assert isinstance(detect().reason, str)


SETTINGS: dict[str, dict[str, object]] = {
    "uboot": {"config": "/etc/fw_env.config", "tries": 3, "script": "rauc"},
    "raspberrypi": {"partitions": {"A": 2, "B": 3}, "autoboot": "/x"},
    "barebox": {
        "device": "/dev/x",
        "offset": 0,
        "prefix": "state",
        "variables": {"A.priority": 0},
        "magic": 1,
        "stride": 64,
        "alias": "state",
    },
    "custom": {"handler": "/usr/lib/handler", "timeout_s": 5},
    "grub": {"environment": "/boot/grub/grubenv"},
    "systemd-boot": {"boot": "/boot", "esp": "/efi"},
    "uefi": {},
}


def parameters_of(backend: Backend) -> dict[str, inspect.Parameter]:
    return dict(inspect.signature(backend.load()).parameters)


@pytest.mark.parametrize("kind", sorted(BACKENDS))
def test_every_backend_is_built_from_its_settings(kind: str) -> None:
    backend = BACKENDS[kind]
    accepted = parameters_of(backend)
    assert set(backend.settings) <= set(accepted)
    assert set(SETTINGS[kind]) == set(backend.settings), "and all of them are tried here"
    made = open_bootloader(kind, ["A", "B"], SETTINGS[kind])
    assert (made.kind, made.slots) == (kind, ("A", "B"))
    for name in (member for member in dir(Bootloader) if not member.startswith("_")):
        assert hasattr(made, name), name


def test_the_nearest_word_is_named() -> None:
    with pytest.raises(BootSettingInvalid) as caught:
        open_bootloader("u-boot", ["A"], {})
    assert caught.value.hint == "is 'uboot' meant?"
    with pytest.raises(BootSettingInvalid) as caught:
        open_bootloader("uboot", ["A"], {"conifg": "/x"})
    assert caught.value.hint == "is 'config' meant?"
    with pytest.raises(BootSettingInvalid) as caught:
        open_bootloader("uboot", ["A"], {"zzz": "/x"})
    assert "config, tries, script" in str(caught.value.hint)
    with pytest.raises(BootSettingInvalid, match="needs the setting handler"):
        open_bootloader("custom", ["A"], {})


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("uboot", {"config": "fw_env.config"}),
        ("uboot", {"config": 3}),
        ("uboot", {"tries": "3"}),
        ("uboot", {"tries": True}),
        ("uboot", {"tries": 9}),
        ("uboot", {"script": 1}),
        ("custom", {"handler": "/x", "timeout_s": "5"}),
        ("raspberrypi", {"partitions": [2, 3]}),
        ("raspberrypi", {"partitions": {"A": "2", "B": "3"}}),
        ("raspberrypi", {"partitions": {1: 2}}),
    ],
)
def test_values_that_make_no_sense_are_refused(kind: str, settings: object) -> None:
    with pytest.raises(BootSettingInvalid):
        open_bootloader(kind, ["A", "B"], cast(dict[str, object], settings))

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from images.errors import SettingInvalid
from updater.device_names import DeviceName, NamedBy, parse_device_name

UUID = "0fc63daf-8483-4772-8e79-3d69d8477de4"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("PARTLABEL=root a=b", DeviceName(NamedBy.PARTLABEL, "root a=b")),
        (f"PARTUUID={UUID.upper()}", DeviceName(NamedBy.PARTUUID, UUID)),
        ("PARTUUID=1A2B3C4D-02", DeviceName(NamedBy.PARTUUID, "1a2b3c4d-02")),
        ("/dev/mmcblk0p2", DeviceName(NamedBy.PATH, "/dev/mmcblk0p2")),
        ("/dev/disk/by-path/pci-1@2", DeviceName(NamedBy.PATH, "/dev/disk/by-path/pci-1@2")),
        ("slot.img", DeviceName(NamedBy.PATH, "/etc/slot.img")),
        ("./a=b", DeviceName(NamedBy.PATH, "/etc/a=b")),
        ("x@1M+1.5M", DeviceName(NamedBy.PATH, "/etc/x", 1 << 20, 3 << 19)),
        (
            "disk.img#PARTLABEL=root#b=c",
            DeviceName(
                NamedBy.PATH, "/etc/disk.img", inside=DeviceName(NamedBy.PARTLABEL, "root#b=c")
            ),
        ),
        (
            f"/dev/sda#PARTUUID={UUID.upper()}",
            DeviceName(NamedBy.PATH, "/dev/sda", inside=DeviceName(NamedBy.PARTUUID, UUID)),
        ),
        ("PARTLABEL=a#PARTLABEL=b", DeviceName(NamedBy.PARTLABEL, "a#PARTLABEL=b")),
        ("disk.img#2", DeviceName(NamedBy.PATH, "/etc/disk.img#2")),
        ("/a@b@0+4096", DeviceName(NamedBy.PATH, "/a@b", 0, 4096)),
    ],
)
def test_what_a_text_names(text: str, name: DeviceName) -> None:
    assert parse_device_name(text, Path("/etc")) == name


@pytest.mark.parametrize(
    "text",
    ["x#LABEL=root", f"x#UUID={UUID}", "x#PARTLABEL=", f"x#PARTLABEL={'a' * 37}", "x#PARTUUID=1"],
)
def test_what_names_no_partition_of_a_table_is_refused(text: str) -> None:
    with pytest.raises(SettingInvalid):
        parse_device_name(text, Path("/etc"))


@given(st.text(max_size=40))
def test_any_text_names_something_or_is_refused(text: str) -> None:
    for prefix in ("", "PARTLABEL=", "PARTUUID=", "/dev/", "x@", "x#PARTLABEL=", "LABEL="):
        try:
            name = parse_device_name(prefix + text, Path("/etc"))
        except SettingInvalid:
            continue
        assert name.by is not NamedBy.PATH or name.value.startswith("/")
        assert str(name)
        assert prefix != "LABEL="


def test_a_name_is_shown_as_it_is_written() -> None:
    for text in ("PARTLABEL=root-a", f"PARTUUID={UUID}", "/dev/sda1", "/x#PARTLABEL=a"):
        assert str(parse_device_name(text, Path("/"))) == text
    assert str(parse_device_name("/x@1M+1M", Path("/"))) == "/x@1048576+1048576"

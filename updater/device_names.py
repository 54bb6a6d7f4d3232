# SPDX-License-Identifier: Apache-2.0
"""How a configuration names the device of a slot.

    PARTLABEL=root-a           name in the GPT; what caflip recommends
    PARTUUID=...               of the GPT, or `1a2b3c4d-02` of an MBR
    /dev/mmcblk0p2             a device, under any name that udev gives it
    disk.img@1M+512M           a region of a file or of a whole disk
    disk.img#PARTLABEL=root-b  a partition of the table in a file, or on one disk; PARTUUID= as well
    disk.img                   a whole file

A file system's LABEL= and UUID= do not do: after an update both slots hold the same ones.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from pathlib import Path

from images.errors import SettingInvalid
from images.sizes import parse_size


class NamedBy(enum.Enum):
    """What a device is named by; the value is what stands before `=`."""

    PARTLABEL = "PARTLABEL"
    PARTUUID = "PARTUUID"
    PATH = "path"


@dataclass(frozen=True, slots=True)
class DeviceName:
    """What to look for.

    Attributes:
        value: the label, the UUID in lower case, or the path.
        offset: where the slot begins in it, in bytes.
        length: bytes of the slot, None for all from `offset` on.
        inside: the partition of the table in it; None for all of it, or for the region.
    """

    by: NamedBy
    value: str
    offset: int = 0
    length: int | None = None
    inside: DeviceName | None = None

    def __str__(self) -> str:
        text = self.value if self.by is NamedBy.PATH else f"{self.by.value}={self.value}"
        if self.length is not None:
            return f"{text}@{self.offset}+{self.length}"
        return text if self.inside is None else f"{text}#{self.inside}"


_REGION = re.compile(r"(?P<path>.+)@(?P<offset>[0-9][0-9.KMGTPEB]*)\+(?P<length>[0-9][^@+]*)")
_INSIDE = re.compile(r"(?P<path>.+?)#(?P<tag>(?:PART)?(?:LABEL|UUID))=(?P<value>.*)")
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_MBR_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{2}")
_BY_CONTENT = ("LABEL", "UUID")
_FORMS = "PARTLABEL=NAME, PARTUUID=UUID, /dev/NAME, FILE@OFFSET+LENGTH, or FILE#PARTLABEL=NAME"

MOST_LABEL = 36
"""Characters of a partition's name: 72 bytes of UTF-16 (UEFI specification 2.10, table 5.6)."""


def parse_device_name(text: str, folder: Path) -> DeviceName:
    """Read a device's name.

    Args:
        text: as it stands in the configuration.
        folder: where relative paths start.

    Raises:
        SettingInvalid: it can be none.
    """
    tag, equals, value = text.partition("=")
    if equals and re.fullmatch(r"[A-Za-z]+", tag):
        return _tagged(text, tag, value)
    if not text or "\0" in text or text.endswith("/"):
        raise SettingInvalid(f"{text!r} is no device", hint=f"write {_FORMS}")
    for kind in _BY_CONTENT:
        if text.startswith(f"/dev/disk/by-{kind.lower()}/"):
            raise _by_content(text, kind)
    inside = _INSIDE.fullmatch(text)
    if inside is not None:
        named = _tagged(text, inside["tag"], inside["value"])
        return DeviceName(NamedBy.PATH, str(folder / inside["path"]), inside=named)
    region = _REGION.fullmatch(text)
    if region is None:
        return DeviceName(NamedBy.PATH, str(folder / text))
    offset, length = parse_size(region["offset"]), parse_size(region["length"])
    if length == 0:
        raise SettingInvalid(f"{text!r} is a region of no bytes")
    if offset % 512 or length % 512:
        raise SettingInvalid(f"{text!r} does not begin or end with a sector of 512 bytes")
    return DeviceName(NamedBy.PATH, str(folder / region["path"]), offset, length)


def _tagged(text: str, tag: str, value: str) -> DeviceName:
    if tag in _BY_CONTENT:
        raise _by_content(text, tag)
    if tag == "PARTLABEL":
        if not 1 <= len(value) <= MOST_LABEL or not value.isprintable():
            raise SettingInvalid(f"{text!r}: a partition's label has 1 to {MOST_LABEL} characters")
        return DeviceName(NamedBy.PARTLABEL, value)
    if tag == "PARTUUID":
        found = value.lower()
        if not _UUID.fullmatch(found) and not _MBR_ID.fullmatch(found):
            raise SettingInvalid(
                f"{text!r} is no PARTUUID",
                hint="such as 0fc63daf-8483-4772-8e79-3d69d8477de4, or 1a2b3c4d-02 of an MBR",
            )
        return DeviceName(NamedBy.PARTUUID, found)
    raise SettingInvalid(f"{text!r} names no device", hint=f"write {_FORMS}")


def _by_content(text: str, tag: str) -> SettingInvalid:
    return SettingInvalid(
        f"{text!r} goes by the content, and both slots may hold the same image",
        hint=f"PARTLABEL= and PARTUUID= name the partition itself; {tag}= does not",
    )

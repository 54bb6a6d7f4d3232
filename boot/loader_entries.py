# SPDX-License-Identifier: Apache-2.0
"""Boot entries as systemd-boot sees them: their names, their counters and which one it takes.

Source: the Boot Loader Specification (https://uapi-group.org/specifications/specs/
boot_loader_specification), systemd's documentation of AUTOMATIC_BOOT_ASSESSMENT, and systemd 252:
src/boot/efi/boot.c (config_entry_parse_tries, config_entry_compare, config_select_default_entry).

    loader/entries/slot-b+2-1.conf      type 1: a text that names kernel and options
    EFI/Linux/slot-b+2-1.efi            type 2: all in one file, with os-release in section .osrel

`+2-1`: two tries left, one done; `-0` may be left out. systemd-boot renames the file before it
starts the kernel. Without a counter an entry is good.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cmp_to_key
from pathlib import Path

from boot.errors import BootError
from boot.portable_executable import read_section
from boot.storage import os_errors, read_at
from boot.version_order import compare_versions

TEXT_LIMIT = 64 << 10
"""Bytes; entries and loader.conf have some hundred."""
NAME = re.compile(
    r"(?P<stem>.+?)(?:\+(?P<left>[0-9]{1,9})(?:-(?P<done>[0-9]{1,9}))?)?(?P<suffix>\.conf|\.efi)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One file.

    Attributes:
        stem: the name without counter and suffix, in lower case; as FAT, systemd-boot sees none.
        left: tries; None of a file that is not counted.
        flaw: why systemd-boot would not list it, in words; None if it does.
    """

    path: Path
    stem: str
    left: int | None
    done: int
    sort_key: str | None = None
    machine_id: str = ""
    version: str = ""
    flaw: str | None = None

    @property
    def id(self) -> str:
        """What patterns are matched with."""
        return self.path.name.lower()

    def named(self, left: int | None) -> str:
        """Return the file's name with another counter: none, or so many tries left, none done."""
        counter = "" if left is None else f"+{left}"
        return f"{self.path.name[: len(self.stem)]}{counter}{self.path.suffix}"


def read_entries(boot: Path) -> tuple[Entry, ...]:
    """Return the entries of one partition, in systemd-boot's order; the flawed ones come last.

    Raises:
        BootloaderMissing: there is no such folder.
        EnvironmentFault: it cannot be read.
    """
    with os_errors(boot):
        next(boot.iterdir(), None)
    found = [_type_1(boot, path, match) for path, match in _files(boot / "loader/entries", ".conf")]
    found += [_type_2(path, match) for path, match in _files(boot / "EFI/Linux", ".efi")]
    return in_order(found)


def in_order(entries: Sequence[Entry]) -> tuple[Entry, ...]:
    """Return entries as systemd-boot sorts them."""
    return tuple(sorted(entries, key=cmp_to_key(_compare)))


def select(entries: Sequence[Entry], *patterns: str | None) -> Entry | None:
    """Return the entry that boots: of the first pattern that matches one, or the first of all.

    Args:
        entries: in order.
        patterns: the one-shot entry, the default of the EFI variable and that of loader.conf.
    """
    listed = [entry for entry in entries if entry.flaw is None]
    for pattern in patterns:
        for entry in listed:
            if pattern and fnmatchcase(entry.id, pattern.lower()):
                return entry
    return listed[0] if listed else None


def read_settings(path: Path) -> dict[str, str]:
    """Return the settings of loader.conf; none if there is no such file."""
    if not path.exists():
        return {}
    text = read_at(path, 0, TEXT_LIMIT).decode("utf-8", "replace")
    return dict(_pairs(text, None))


def _files(folder: Path, suffix: str) -> Iterator[tuple[Path, re.Match[str]]]:
    if not folder.is_dir():
        return
    with os_errors(folder):
        paths = sorted(folder.iterdir())
    for path in paths:
        name = path.name.lower()
        match = NAME.fullmatch(path.name)
        if match and name.endswith(suffix) and not name.startswith((".", "auto-")):
            yield path, match


def _type_1(boot: Path, path: Path, match: re.Match[str]) -> Entry:
    fields, flaw, kernel = {}, None, None
    try:
        text = read_at(path, 0, TEXT_LIMIT).decode("utf-8", "replace")
    except BootError as error:
        text, flaw = "", str(error)
    for key, value in _pairs(text, None):
        fields[key] = value
        if key in ("linux", "efi", "uki"):
            kernel = value
    if flaw is None and kernel is None:
        flaw = "it names no kernel"
    elif kernel is not None and not (boot / kernel.replace("\\", "/").lstrip("/")).exists():
        flaw = f"{kernel} is not there"
    return _entry(path, match, fields, fields.get("sort-key"), fields.get("version", ""), flaw)


def _type_2(path: Path, match: re.Match[str]) -> Entry:
    try:
        section = read_section(path, b".osrel", TEXT_LIMIT)
    except BootError as error:
        return _entry(path, match, {}, None, "", str(error))
    if section is None:
        return _entry(path, match, {}, None, "", "it has no section .osrel")
    text = section.rstrip(b"\0").decode("utf-8", "replace")
    fields = {key: value.strip("\"'") for key, value in _pairs(text, "=")}
    # systemd, src/fundamental/bootspec-fundamental.c, bootspec_pick_name_version_sort_key()
    sort_key = fields.get("IMAGE_ID") or fields.get("ID")
    versions = (fields.get(key) for key in ("IMAGE_VERSION", "VERSION", "VERSION_ID", "BUILD_ID"))
    return _entry(path, match, {}, sort_key, next(filter(None, versions), ""), None)


def _entry(
    path: Path,
    match: re.Match[str],
    fields: Mapping[str, str],
    sort_key: str | None,
    version: str,
    flaw: str | None,
) -> Entry:
    left = None if match["left"] is None else int(match["left"])
    done = int(match["done"] or 0)
    machine_id = fields.get("machine-id", "")
    return Entry(path, match["stem"].lower(), left, done, sort_key, machine_id, version, flaw)


def _pairs(text: str, separator: str | None) -> Iterator[tuple[str, str]]:
    for line in text.splitlines():
        words = line.strip().split(separator, 1)
        if len(words) == 2 and not words[0].startswith("#"):
            yield words[0], words[1].strip()


def _compare(a: Entry, b: Entry) -> int:
    """Negative: `a` comes first. As config_entry_compare() in systemd 252, src/boot/efi/boot.c."""

    def first(x: bool | int | str, y: bool | int | str) -> int:
        return (x > y) - (x < y)  # type: ignore[operator]

    order = first(a.flaw is not None, b.flaw is not None)
    order = order or first(a.left == 0, b.left == 0)
    order = order or first(a.sort_key is None, b.sort_key is None)
    if not order and a.sort_key is not None and b.sort_key is not None:
        order = first(a.sort_key, b.sort_key) or first(a.machine_id, b.machine_id)
        order = order or -compare_versions(a.version, b.version)
    order = order or -compare_versions(a.id, b.id)
    if order or a.left is None or b.left is None:
        return order
    return -first(a.left, b.left) or first(a.done, b.done)

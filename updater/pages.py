# SPDX-License-Identifier: Apache-2.0
"""What there is to say of every verb, taken from its parser: the content of the documents."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass

from updater.commands import VERBS, Verb

SHARED = ("seeds", "stores", "common options")
"""Groups of options that are the same for every verb that has them."""

ENVIRONMENT = (
    ("CASYNC_STORE", "the store, where --store is not given"),
    ("CAFLIP_STORE_SETTINGS", "the file of --store-settings, where that is not given"),
    ("CASYNC_COMPRESSED_CHUNK_SUFFIX", "end of the names of compressed chunks (.cacnk)"),
    ("CASYNC_LOG_LEVEL, CASYNC_VERBOSE", "as --log-level and -v"),
    ("NOTIFY_SOCKET, WATCHDOG_USEC", "set by systemd: readiness, status, watchdog, stopping"),
    ("http_proxy, https_proxy, no_proxy", "as for curl; a store's own settings outrank them"),
)

EXAMPLES = (
    ("Publish an image", "caflip make --store=castr rootfs.caibx rootfs.ext4"),
    (
        "What would an update cost?",
        "caflip info --seed=/dev/mmcblk0p2 https://updates.example/rootfs.caibx /dev/mmcblk0p3",
    ),
    (
        "Update the inactive slot from the active one and the web",
        "caflip extract --seed=/dev/mmcblk0p2 https://updates.example/rootfs.caibx /dev/mmcblk0p3",
    ),
    ("Is it still what was installed?", "caflip verify rootfs.caibx /dev/mmcblk0p3"),
    ("Write into a region of a disk", "caflip extract rootfs.caibx disk.img --offset=1M"),
    (
        "Publish a signed release",
        "caflip release make /srv/www/stable rootfs.ext4 --compatible=acme-gateway "
        "--version=2.1 --sign-with=FINGERPRINT",
    ),
    (
        "Is what a server offers signed, whole and in date?",
        "caflip release verify https://updates.example/stable --keyring=trusted.gpg",
    ),
    ("Remove old chunks", "caflip gc -v --store=castr rootfs-1.caibx rootfs-2.caibx"),
)


@dataclass(frozen=True, slots=True)
class Entry:
    """One option or argument: how it is written, and what it means."""

    syntax: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Page:
    """One verb, ready to be written in any format."""

    verb: Verb
    synopsis: str
    description: str
    entries: tuple[Entry, ...]
    shared: tuple[str, ...]


def pages() -> list[Page]:
    """Return what there is to say of every verb."""
    return [_page(verb) for verb in VERBS]


def shared_groups() -> dict[str, tuple[Entry, ...]]:
    """Return the options of `SHARED`, by group."""
    groups: dict[str, tuple[Entry, ...]] = {}
    for verb in VERBS:
        for title, entries in _groups(verb):
            if title in SHARED:
                assert groups.setdefault(title, entries) == entries, title
    return {title: groups[title] for title in SHARED}


def _groups(verb: Verb) -> Iterator[tuple[str, tuple[Entry, ...]]]:
    for group in verb.parser("caflip")._action_groups:
        entries = tuple(
            _entry(action)
            for action in group._group_actions
            if action.help is not argparse.SUPPRESS
        )
        if entries:
            yield group.title or "", entries


def _entry(action: argparse.Action) -> Entry:
    name = action.metavar if isinstance(action.metavar, str) else action.dest
    if not action.option_strings:
        return Entry(name, action.help or "")
    long = action.option_strings[-1]
    syntax = ", ".join(action.option_strings)
    if action.nargs != 0:
        syntax += f"={name}" if long.startswith("--") else f" {name}"
    return Entry(syntax, action.help or "")


def _page(verb: Verb) -> Page:
    parser = verb.parser("caflip")
    own: list[Entry] = []
    shared = []
    for title, entries in _groups(verb):
        if title in SHARED:
            shared.append(title)
        else:
            own += entries
    words = [
        _positional(action)
        for action in parser._actions
        if not action.option_strings and action.help is not argparse.SUPPRESS
    ]
    return Page(
        verb,
        " ".join(["caflip", verb.name, "[OPTIONS...]", *words]),
        textwrap.dedent(parser.description or "").strip(),
        tuple(own),
        tuple(title for title in SHARED if title in shared),
    )


def _positional(action: argparse.Action) -> str:
    name = action.metavar if isinstance(action.metavar, str) else action.dest
    return {"?": f"[{name}]", "*": f"[{name}...]", "+": f"{name}..."}.get(str(action.nargs), name)

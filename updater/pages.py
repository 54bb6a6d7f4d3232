# SPDX-License-Identifier: Apache-2.0
"""What there is to say of every verb, taken from its parser: the content of the documents."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass

from updater.commands import VERBS, Verb

SHARED = ("device", "seeds", "stores", "common options")
"""Groups of options that are the same for every verb that has them."""

ENVIRONMENT = (
    ("CAFLIP_CONFIG", "the device's configuration, where --config is not given"),
    ("CASYNC_STORE", "the store, where --store is not given"),
    ("CAFLIP_STORE_SETTINGS", "the file of --store-settings, where that is not given"),
    ("CASYNC_COMPRESSED_CHUNK_SUFFIX", "end of the names of compressed chunks (.cacnk)"),
    ("CASYNC_LOG_LEVEL, CASYNC_VERBOSE", "as --log-level and -v"),
    ("NOTIFY_SOCKET, WATCHDOG_USEC", "set by systemd: readiness, status, watchdog, stopping"),
    ("http_proxy, https_proxy, no_proxy", "as for curl; a store's own settings outrank them"),
)

EXAMPLES = (
    (
        "See whether there is a new release (exit status 0: there is, 3: there is not)",
        "caflip check",
    ),
    ("See what it would cost", "caflip plan"),
    ("Update the inactive slot, then restart into it", "caflip update && reboot"),
    ("After the boot: check, and mark the slot good or bad", "caflip health"),
    ("Go back to the slot before", "caflip rollback && reboot"),
    ("Install one release from a stick", "caflip install /media/stick/stable/v7/release.json"),
    (
        "In a factory: fill slot A of a disk image",
        "caflip install stable --config=config.toml --slot=A --provision --running=none",
    ),
    ("Make a key", "caflip keys make 'Releases <releases@example.org>' --gnupg-home=keys"),
    ("Make the keyring for the devices", "caflip keys export trusted.gpg --gnupg-home=keys"),
    (
        "Publish a signed release",
        "caflip release make /srv/www/stable rootfs.ext4 --compatible=acme-gateway "
        "--version=2.1 --gnupg-home=keys --sign-with=FINGERPRINT",
    ),
    (
        "See whether what a server offers is signed, whole and in date",
        "caflip release verify https://updates.example.org/stable --keyring=trusted.gpg",
    ),
    ("Cut an image into chunks", "caflip make --store=castr rootfs.caibx rootfs.ext4"),
    (
        "Bring an image onto a partition, with what another one has",
        "caflip extract --seed=/dev/mmcblk0p2 https://updates.example.org/rootfs.caibx "
        "/dev/mmcblk0p3",
    ),
    ("See whether it is still what was installed", "caflip verify rootfs.caibx /dev/mmcblk0p3"),
    ("Write into a region of a disk", "caflip extract rootfs.caibx disk.img --offset=1M"),
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

# SPDX-License-Identifier: Apache-2.0
"""From images to a signed release in a channel.

A channel is a folder that any web server serves as it is (`channel.py` has the layout). What is
published does not change; only `latest.json` is replaced, as the last step, when all it leads to is
durable. A run that is cut leaves a hidden folder and chunks that the next run uses.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from images.durable import os_errors, replace_file, sync_folder
from images.events import EventSink, ignore
from images.stores.local import LocalStore
from updater.errors import ChannelRefused, ReleaseRefused
from updater.releases.channel import LATEST_NAME, parse_pointer, pointer_bytes
from updater.releases.cutting import CutImage, Cutting, cut_image
from updater.releases.document import MAX_LENGTH, Release, ReleaseImage, TrustChange
from updater.releases.names import check_class, is_release_name
from updater.releases.signing import Sign, sign_file

RELEASE_NAME = "release.json"
STORE_NAME = "default.castr"
MODE = 0o644


@dataclass(frozen=True, slots=True)
class Draft:
    """What is to be published.

    Attributes:
        channel: folder of the channel; made if it is not there.
        images: file or device for each class of slots; empty to take those of `like`.
        like: a release of the channel that is published again: its kind, images, version and
            sequence, with another date, part of the devices, notes or keys.
        sequence: None for the channel's highest plus one, or that of `like`.
        created, valid_for: the release expires at their sum.
        store: folder that takes the chunks; None for `default.castr` in the channel.
        stores: what the release names; empty for the path to `store`, if that is in the channel.
        force: allow a sequence that is not higher than all others of the channel.
        hold: leave `latest.json` alone.
    """

    channel: Path
    compatible: str
    version: str
    created: datetime
    valid_for: timedelta
    images: Mapping[str, Path] = field(default_factory=dict)
    like: Path | None = None
    sequence: int | None = None
    variants: tuple[str, ...] = ()
    rollout: int | None = None
    notes: str = ""
    trust: TrustChange | None = None
    store: Path | None = None
    stores: tuple[str, ...] = ()
    cutting: Cutting = field(default_factory=Cutting)
    force: bool = False
    hold: bool = False


@dataclass(frozen=True, slots=True)
class PublishedRelease:
    """What came of a draft.

    Attributes:
        path: of the release's file.
        cut: what became of the images, by class; empty where `like` gave them.
        signatures: how many it has.
        latest: whether `latest.json` names it now.
    """

    path: Path
    release: Release
    cut: Mapping[str, CutImage]
    signatures: int
    latest: bool


def publish(draft: Draft, signs: Sequence[Sign] = (), sink: EventSink = ignore) -> PublishedRelease:
    """Cut, describe, sign, and show.

    Args:
        draft: what.
        signs: who signs; a release that nobody signs is not shown.
        sink: takes progress of the images.

    Raises:
        ChannelRefused: the release exists, the sequence is too low, the store has no name.
        ReleaseMalformed: the draft breaks a rule of the format.
        SigningFailed, KeyringUnusable: it cannot be signed; it stays unpublished.
        NotAccessible, NoSpace, DeviceFault, ProbeError: an image or the channel.
    """
    for slot_class in draft.images:
        check_class(slot_class)
    highest = highest_sequence(draft.channel)
    like = None if draft.like is None else read_release(draft.like)
    sequence = draft.sequence or (highest + 1 if like is None else like.sequence)
    least = highest + 1 if like is None else highest
    if sequence < least and not draft.force:
        raise ChannelRefused(
            f"sequence {sequence}, and {draft.channel} has {highest} already",
            hint="devices refuse to go back; --force publishes it all the same",
        )
    folder = _free_folder(draft.channel, sequence, again=like is not None)
    store = draft.store or draft.channel / STORE_NAME
    stores = draft.stores or (like.stores if like else (_relative_store(store, folder),))
    with os_errors(str(draft.channel)):
        draft.channel.mkdir(parents=True, exist_ok=True)
        store.parent.mkdir(parents=True, exist_ok=True)
    cut: dict[str, CutImage] = {}
    for slot_class, path in sorted(draft.images.items()):
        writer = LocalStore(store, draft.cutting.compression)
        cut[slot_class] = cut_image(slot_class, path, writer, draft.cutting, sink)
    indexes = {image.facts.index: image.index for image in cut.values()}
    images = {slot_class: image.facts for slot_class, image in cut.items()}
    if like is not None and draft.like is not None and not images:
        images = dict(like.images)
        indexes = _indexes_of(draft.like, images)
    release = Release(
        compatible=draft.compatible,
        variants=draft.variants,
        version=draft.version,
        sequence=sequence,
        created=draft.created,
        expires=draft.created + draft.valid_for,
        images=images,
        stores=stores,
        rollout=draft.rollout,
        notes=draft.notes,
        trust=draft.trust,
    )
    signatures = _write(folder, release, indexes, signs)
    path = folder / RELEASE_NAME
    shown = bool(signatures) and not draft.hold
    if shown:
        show(draft.channel, path)
    return PublishedRelease(path, release, cut, signatures, shown)


def show(channel: Path, release: Path) -> None:
    """Let `latest.json` name a release of the channel.

    Raises:
        ChannelRefused: the release is not below the channel.
    """
    name = os.path.relpath(release, channel)
    if not is_release_name(name):
        raise ChannelRefused(f"{release} is not below the channel {channel}")
    replace_file(channel / LATEST_NAME, pointer_bytes(name), MODE)


def add_signature(release: Path, sign: Sign, *, hold: bool = False) -> tuple[int, bool]:
    """Sign a release that is there, and show it if it is the channel's newest.

    Returns:
        How many signatures it has, and whether `latest.json` names it now.

    Raises:
        ChannelRefused, SigningFailed, ReleaseMalformed: see `signing.sign_file`.
    """
    count = sign_file(release, sign)
    channel = release.parent.parent
    latest = channel / LATEST_NAME
    if not hold and (
        not latest.exists() or _shown_sequence(channel) <= read_release(release).sequence
    ):
        show(channel, release)
        return count, True
    return count, False


def read_release(path: Path) -> Release:
    """Read a release of one's own, whoever signed it.

    Raises:
        NotAccessible, FormatUnknown, ReleaseMalformed: it cannot be read.
    """
    with os_errors(str(path)), open(path, "rb") as file:
        return Release.parse(file.read(MAX_LENGTH + 1))


def highest_sequence(channel: Path) -> int:
    """Return the highest sequence of all releases in a channel, shown or not; 0 for none.

    Raises:
        ChannelRefused: one of them cannot be read.
    """
    highest = 0
    for path in sorted(channel.glob(f"*/{RELEASE_NAME}")):
        if path.parent.name.startswith("."):
            continue
        try:
            highest = max(highest, read_release(path).sequence)
        except ReleaseRefused as error:
            raise ChannelRefused(f"{path}: {error}", hint="move it out of the channel") from error
    return highest


def _shown_sequence(channel: Path) -> int:
    with os_errors(str(channel / LATEST_NAME)):
        name = parse_pointer((channel / LATEST_NAME).read_bytes(), LATEST_NAME)
    return read_release(channel / name).sequence


def _free_folder(channel: Path, sequence: int, *, again: bool) -> Path:
    folder = channel / f"v{sequence}"
    number = 1
    while again and folder.exists():
        number += 1
        folder = channel / f"v{sequence}.{number}"
    if folder.exists():
        raise ChannelRefused(f"{folder} exists, and a release does not change")
    return folder


def _relative_store(store: Path, folder: Path) -> str:
    relative = os.path.relpath(store, folder)
    if relative.startswith("../.."):
        raise ChannelRefused(
            f"the store {store} is outside of the channel", hint="say --store-url=URL as well"
        )
    return relative


def _indexes_of(like: Path, images: Mapping[str, ReleaseImage]) -> dict[str, bytes]:
    from updater.releases.proof import prove_index

    indexes = {}
    for image in images.values():
        with os_errors(str(like.parent / image.index)):
            indexes[image.index] = (like.parent / image.index).read_bytes()
        prove_index(indexes[image.index], image)
    return indexes


def _write(
    folder: Path, release: Release, indexes: Mapping[str, bytes], signs: Sequence[Sign]
) -> int:
    """Write a release's folder under a hidden name, then rename it: whole, or not there."""
    part = folder.with_name(f".{folder.name}.caflip-part")
    with os_errors(str(part)):
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir()
    try:
        for name, data in indexes.items():
            with os_errors(str(part / name)):
                (part / name).parent.mkdir(parents=True, exist_ok=True)
            replace_file(part / name, data, MODE)
        replace_file(part / RELEASE_NAME, release.to_bytes(), MODE)
        count = 0
        for sign in signs:
            count = sign_file(part / RELEASE_NAME, sign)
        with os_errors(str(folder)):
            part.chmod(0o755)
            # Fails where somebody else put a release there in the meantime: it is not empty.
            part.rename(folder)
            sync_folder(folder.parent)
        return count
    except BaseException:
        with suppress(OSError):
            shutil.rmtree(part)
        raise

# SPDX-License-Identifier: Apache-2.0
"""A channel: a folder on a web server, a disk or a stick, with releases in it.

    latest.json              {"format": "caflip-latest-1", "release": "v42/release.json"}
    v42/release.json         never changes
    v42/release.json.asc     signatures are only added
    v42/rootfs-1b2c….caibx   named by its content
    default.castr/           chunks of all releases

The pointer is not signed, and only a hint: whoever changes it can show another signed release, and
the sequence and the date decide about that. Every length is capped before a byte is read.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from images.durable import os_errors
from images.errors import IndexInvalid, NotAccessible, Refused
from images.index import Index
from images.locator import HttpUrl, LocalPath, Locator, without_query
from images.stores.settings import HttpSettings
from updater.errors import IndexMismatch, PointerMalformed, ReleaseMalformed, TooLong, Unsigned
from updater.releases.document import (
    MAX_INDEX_LENGTH,
    MAX_LENGTH,
    MAX_SIGNATURE_LENGTH,
    canonical,
    read_json,
)
from updater.releases.fields import Fields
from updater.releases.names import beside, is_release_name, with_suffix
from updater.releases.proof import ProvedRelease, SignedRelease, prove_index
from updater.releases.signatures import Signer, Trust, verify_signatures

LATEST_FORMAT = "caflip-latest-1"
LATEST_NAME = "latest.json"
MAX_LATEST_LENGTH = 4096

Fetch: TypeAlias = Callable[[Locator, int], bytes]
"""Return the bytes at a place, at most so many.

Raises `TooLong` beyond that, `NotAccessible` where there is nothing, `StoreUnavailable`.
"""


@dataclass(frozen=True, slots=True)
class BareIndex:
    """An index that was signed by itself, outside of any release.

    Attributes:
        caveats: what cannot be judged without a release, in sentences for people.
    """

    location: Locator
    index: Index
    signers: tuple[Signer, ...]
    caveats: tuple[str, ...]


def fetcher(settings_of: Callable[[HttpUrl], HttpSettings]) -> Fetch:
    """Return what fetches from files and web servers.

    Args:
        settings_of: such as `StoreOptions.settings_of`.
    """

    def fetch(location: Locator, limit: int) -> bytes:
        if isinstance(location, LocalPath):
            return _read(location.path, limit)
        from images.fetch import fetch_bytes

        try:
            return fetch_bytes(location, settings_of(location), limit)
        except Refused as error:  # the one thing that it refuses
            raise TooLong(f"{location.name}: more than {limit} bytes") from error

    return fetch


def find_release(location: Locator, fetch: Fetch) -> Locator:
    """Return where the release is: follow a channel's pointer, if it is one.

    Args:
        location: of a channel's folder, its `latest.json`, or a release.
        fetch: from `fetcher`.

    Raises:
        NotAccessible, StoreUnavailable: the pointer cannot be had.
        PointerMalformed, TooLong: it is none.
    """
    pointer = _pointer_of(location)
    if pointer is None:
        return location
    data = fetch(pointer, MAX_LATEST_LENGTH)
    return beside(pointer, parse_pointer(data, pointer.name))


def fetch_release(location: Locator, fetch: Fetch) -> SignedRelease:
    """Fetch a release and its signature.

    Args:
        location: of a channel or a release; see `find_release`.
        fetch: from `fetcher`.

    Raises:
        NotAccessible, StoreUnavailable: it cannot be had.
        Unsigned: the release is there, and its signature is not.
        PointerMalformed, TooLong: not what it should be, by its look alone.
    """
    release = find_release(location, fetch)
    raw = fetch(release, MAX_LENGTH)
    return SignedRelease(release, raw, _fetch_signature(release, fetch))


def fetch_index(proved: ProvedRelease, slot_class: str, fetch: Fetch) -> Index:
    """Fetch the index of one image of a release; `KeyError` if it has no such image.

    Raises:
        NotAccessible, StoreUnavailable: it cannot be had.
        IndexMismatch: it is not what the release names.
    """
    image = proved.release.images[slot_class]
    location = index_location(proved, slot_class)
    try:
        data = fetch(location, image.index_length)
    except TooLong as error:
        raise IndexMismatch(
            f"{location.name} is longer than the {image.index_length} bytes of the release"
        ) from error
    return prove_index(data, image)


def index_location(proved: ProvedRelease, slot_class: str) -> Locator:
    """Return where an index is; `images.stores` derive the default store from it."""
    return beside(proved.location, proved.release.images[slot_class].index)


def store_locations(proved: ProvedRelease) -> tuple[Locator, ...]:
    """Return the stores that a release names, in its order."""
    return tuple(beside(proved.location, store) for store in proved.release.stores)


def load_bare_index(location: Locator, trust: Trust, now: datetime, fetch: Fetch) -> BareIndex:
    """Fetch an index that has its own signature beside it, `image.caibx.asc`, and prove it.

    For images that are installed by hand. Without a release there is no sequence, no date, and no
    kind of device: the caveats say so.

    Raises:
        NotAccessible, StoreUnavailable: it cannot be had.
        Unsigned: there is no signature beside it.
        TooLong, IndexMismatch: it is not an index, or too long for one.
        ReleaseRefused: see `signatures.verify_signatures`.
    """
    data = fetch(location, MAX_INDEX_LENGTH)
    signers = verify_signatures(data, _fetch_signature(location, fetch), trust, now)
    try:
        index = Index.parse(data)
    except IndexInvalid as error:
        raise IndexMismatch(f"{location.name} is signed, and no index: {error}") from error
    caveats = (
        "an index without a release has no sequence: whether it is older cannot be judged",
        "an index without a release has no date: whether it has expired cannot be judged",
        "an index without a release names no device: whether it is for this one cannot be judged",
    )
    return BareIndex(location, index, signers, caveats)


def parse_pointer(data: bytes, name: str) -> str:
    """Return the relative name of the release in a pointer.

    Raises:
        PointerMalformed: it is none.
    """
    try:
        with Fields(name, read_json(data)) as at:
            form, release = at.text("format"), at.text("release")
    except ReleaseMalformed as error:
        raise PointerMalformed(f"{name}: {error}") from None
    if form != LATEST_FORMAT:
        raise PointerMalformed(f"{name} is of format {form[:64]!r}, not {LATEST_FORMAT!r}")
    if not is_release_name(release):
        raise PointerMalformed(f"{name} does not name a release below it: {release[:80]!r}")
    return release


def pointer_bytes(release: str) -> bytes:
    """Return a pointer to a release."""
    return canonical({"format": LATEST_FORMAT, "release": release})


def _pointer_of(location: Locator) -> Locator | None:
    """Return the pointer that a location is, or that the folder it names has."""
    if isinstance(location, LocalPath):
        if os.path.isdir(location.path):
            return LocalPath(os.path.join(location.path, LATEST_NAME))
        return location if os.path.basename(location.path) == LATEST_NAME else None
    path = without_query(location.url)
    if path.endswith(f"/{LATEST_NAME}"):
        return location
    if path.endswith(".json"):
        return None
    return HttpUrl(f"{path.rstrip('/')}/{LATEST_NAME}", location.authorization)


def _fetch_signature(location: Locator, fetch: Fetch) -> bytes:
    signature = with_suffix(location, ".asc")
    try:
        return fetch(signature, MAX_SIGNATURE_LENGTH)
    except NotAccessible as error:
        # Also 403: what is there came from the same place a moment ago.
        raise Unsigned(f"{location.name} has no signature beside it: {error}") from error


def _read(path: str, limit: int) -> bytes:
    with os_errors(path):
        # Whoever made a stick may have put a pipe there, which would keep us waiting for ever.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(fd, "rb") as file:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise NotAccessible(f"{path} is no regular file")
            data = file.read(limit + 1)
    if len(data) > limit:
        raise TooLong(f"{path}: more than {limit} bytes")
    return data

# SPDX-License-Identifier: Apache-2.0
"""What is about to be installed: proved to be signed, and judged fit for this device.

A candidate comes from a channel, a release, or an index that is signed by itself; from here on it
is all one. Nothing of the device is written while it is made.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePath

from images.index import Index
from images.locator import Locator, default_store, without_query
from updater.errors import ImageTooLarge, SlotClassUnknown
from updater.releases.channel import (
    BareIndex,
    Fetch,
    fetch_index,
    index_location,
    store_locations,
)
from updater.releases.document import FileSystem
from updater.releases.policy import Judgement
from updater.releases.proof import ProvedRelease
from updater.releases.signatures import Signer, Trust


@dataclass(frozen=True, slots=True)
class CandidateImage:
    """The image for one class of slots.

    Attributes:
        index: proved.
        index_sha256: of its bytes.
        file_system: what the image holds; None where that is not said.
    """

    index: Index
    index_sha256: bytes
    file_system: FileSystem | None


@dataclass(frozen=True, slots=True)
class Candidate:
    """What may be installed on this device.

    Attributes:
        version: for people.
        digest: SHA-256 of the release's bytes, or of the index's; names it in records.
        sequence: None for an index without a release.
        created: None for an index without a release.
        images: by class of slots.
        stores: where its chunks are, in the order to be asked.
        signers: one for each primary key.
        next_trust: to be stored when it has proved good.
        turn: whether it is this device's turn in the roll-out.
        caveats: what could not be judged.
    """

    location: Locator
    version: str
    digest: bytes
    sequence: int | None
    created: datetime | None
    images: Mapping[str, CandidateImage]
    stores: tuple[Locator, ...]
    signers: tuple[Signer, ...]
    next_trust: Trust | None
    turn: bool
    caveats: tuple[str, ...]


def of_release(proved: ProvedRelease, judgement: Judgement, fetch: Fetch) -> Candidate:
    """Fetch the indexes of a release that was proved and judged.

    Raises:
        NotAccessible, StoreUnavailable: an index cannot be had.
        IndexMismatch: it is not the one that the release names.
    """
    release = proved.release
    images = {}
    stores = list(store_locations(proved))
    for name, image in release.images.items():
        index = fetch_index(proved, name, fetch)
        images[name] = CandidateImage(index, image.index_sha256, image.file_system)
        if not release.stores:
            stores.append(default_store(index_location(proved, name)))
    return Candidate(
        proved.location,
        release.version,
        proved.digest,
        release.sequence,
        release.created,
        images,
        tuple(dict.fromkeys(stores)),
        proved.signers,
        proved.next_trust,
        judgement.turn,
        judgement.caveats,
    )


def of_index(bare: BareIndex, slot_lengths: Mapping[str, int]) -> Candidate:
    """Take an index that is signed by itself.

    Args:
        bare: proved.
        slot_lengths: bytes of the slot to be written, by class.

    Raises:
        SlotClassUnknown: there are several classes, and an index names none.
        ImageTooLarge: the image is longer than the slot.
    """
    if len(slot_lengths) != 1:
        raise SlotClassUnknown(
            f"{bare.location.name} names no class of slots, and there are {len(slot_lengths)}",
            hint="publish a release: `caflip release make`",
        )
    ((name, room),) = slot_lengths.items()
    if bare.index.blob_length > room:
        raise ImageTooLarge(
            f"the image has {bare.index.blob_length} bytes; the slot {name!r} has {room}"
        )
    digest = hashlib.sha256(bare.index.to_bytes()).digest()
    return Candidate(
        bare.location,
        PurePath(without_query(bare.location.name)).stem,
        digest,
        None,
        None,
        {name: CandidateImage(bare.index, digest, None)},
        (default_store(bare.location),),
        bare.signers,
        None,
        True,
        bare.caveats,
    )

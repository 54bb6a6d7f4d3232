# SPDX-License-Identifier: Apache-2.0
"""One image of a release: its chunks into the store, its index into the release's folder."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from fsprobe import probe
from images.compression import Compression
from images.digests import Digest
from images.durable import os_errors
from images.errors import NotAccessible
from images.events import EventSink
from images.index import Index
from images.inputs import open_input
from images.making import make
from images.sizes import ChunkSizes
from images.stores.local import LocalStore
from updater.errors import ChannelRefused
from updater.releases.document import FileSystem, ReleaseImage

_PIECE = 1 << 20
_SHORT = 12
"""Hexadecimal digits of the digest in the name of an index: for people; the release has it all."""


@dataclass(frozen=True, slots=True)
class Cutting:
    """How images become chunks.

    Attributes:
        sizes: of the chunks; casync's defaults if None.
        threads: None for as many as there are cores.
    """

    sizes: ChunkSizes | None = None
    digest: Digest = Digest.SHA512_256
    compression: Compression = Compression.ZSTD
    threads: int | None = None


@dataclass(frozen=True, slots=True)
class CutImage:
    """What became of an image.

    Attributes:
        facts: for the release.
        index: the bytes of the index file.
        new_chunks, stored_length: what the store did not have before.
    """

    facts: ReleaseImage
    index: bytes = field(repr=False)
    chunks: int
    new_chunks: int
    stored_length: int


def cut_image(
    slot_class: str, path: Path, store: LocalStore, cutting: Cutting, sink: EventSink
) -> CutImage:
    """Cut an image, and gather the facts about it. The chunks are durable when it returns.

    Args:
        slot_class: what the index is named after.
        path: a file, or a block device, which ends where its file system ends.
        store: takes the chunks.
        cutting: how.
        sink: takes progress.

    Raises:
        ChannelRefused: the image is empty, or changed while it was read.
        ProbeError: its superblock cannot be believed.
        NotAccessible, NoSpace, DeviceFault, IndexInvalid: see `images.making.make`.
    """
    with open_input(path) as opened:
        if opened.length is None:
            raise NotAccessible(
                f"{path} is a pipe", hint="images of releases are read twice: use a file or device"
            )
        with store.writer() as writer:
            made = make(
                opened,
                sizes=cutting.sizes,
                digest=cutting.digest,
                writer=writer,
                sink=sink,
                threads=cutting.threads,
            )
            writer.commit()
    if not made.index.blob_length:
        raise ChannelRefused(f"{path} is empty")
    image_sha256 = _digest_again(path, made.index, made.digest)
    data = made.index.to_bytes()
    index_sha256 = hashlib.sha256(data).digest()
    facts = ReleaseImage(
        index=f"{slot_class}-{index_sha256.hex()[:_SHORT]}.caibx",
        index_sha256=index_sha256,
        index_length=len(data),
        image_length=made.index.blob_length,
        image_sha256=image_sha256,
        file_system=_file_system(path),
    )
    return CutImage(facts, data, len(made.index), made.new_chunks, made.stored_length)


def _digest_again(path: Path, index: Index, digest: bytes) -> bytes:
    """Return the SHA-256 of the image, and make sure that it is still the one that was cut."""
    if index.digest is Digest.SHA256:
        return digest
    whole, again, left = hashlib.sha256(), index.digest.new(), index.blob_length
    with os_errors(str(path)), open(path, "rb") as file:
        while left and (piece := file.read(min(_PIECE, left))):
            whole.update(piece)
            again.update(piece)
            left -= len(piece)
    if left or again.digest() != digest:
        raise ChannelRefused(
            f"{path} changed while it was read", hint="publish from an image that nobody writes to"
        )
    return whole.digest()


def _file_system(path: Path) -> FileSystem | None:
    with os_errors(str(path)):
        found = probe(path)
    return None if found is None else FileSystem(found.kind, found.length, found.uuid)

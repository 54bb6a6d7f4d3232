# SPDX-License-Identifier: Apache-2.0
"""The seam between those who need chunks and those who have them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

from images.digests import ChunkId, Digest
from images.errors import ImageError
from images.sources import Source


@dataclass(frozen=True, slots=True)
class ChunkRef:
    """A chunk that is asked for.

    Attributes:
        number: the caller's own number for it, given back in the answer.
        id: what its bytes must digest to.
        length: uncompressed bytes, from the index: no answer may inflate beyond it.
    """

    number: int
    id: ChunkId
    length: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one `ChunkRef`: either `data` or `error`.

    Attributes:
        data: the chunk's bytes, decompressed, of the right length and digest.
        transferred: bytes that came from the store for it, failures included.
        source: name of the store that delivered, or failed last.
        kind: what that store is: `CACHE`, `PEER` or `STORE`.
    """

    ref: ChunkRef
    data: bytes | None
    error: ImageError | None
    transferred: int
    source: str
    kind: Source = Source.STORE


@dataclass(frozen=True, slots=True)
class Stat:
    """What a store says of a chunk without delivering it.

    Attributes:
        present: the store has it (its content was not looked at).
        stored_length: bytes that a delivery would transfer, None when the store does not say.
    """

    ref: ChunkRef
    present: bool
    stored_length: int | None


class Store(Protocol):
    """Delivers chunks; several at once where that helps."""

    @property
    def name(self) -> str:
        """What users see: path or URL, without credentials."""
        ...

    @property
    def remote(self) -> bool:
        """Asking costs a network round trip."""
        ...

    def fetch(self, wanted: Iterable[ChunkRef], digest: Digest) -> Iterator[Answer]:
        """Yield exactly one answer for each wanted chunk, in any order.

        `wanted` is consumed as far as requests are in flight, never all at once; the bytes held
        at any time are bounded. Closing the iterator early ends all requests.
        """
        ...

    def stat(self, wanted: Iterable[ChunkRef]) -> Iterator[Stat]:
        """Yield exactly one `Stat` for each wanted chunk, in any order.

        Raises:
            StoreUnavailable: the store cannot say.
        """
        ...

    def close(self) -> None:
        """End connections and threads."""
        ...


class Peers(Protocol):
    """Neighbours that may have chunks."""

    def holds(self, wanted: Iterable[ChunkRef]) -> Iterator[ChunkRef]:
        """Yield those chunks that some neighbour says it has; cheap, and no promise."""
        ...


class PeerStore(Store, Peers, Protocol):
    """Neighbours and remote stores as one."""

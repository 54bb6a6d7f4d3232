# SPDX-License-Identifier: Apache-2.0
"""Several stores as one: a cache, then each store in turn.

Chunks are fetched in *stages*. All that is wanted goes to the first store; what it does not
deliver, for whatever reason, goes to the next when the first is through. Where casync ends at the
first damaged chunk or unreachable store, only a chunk that nobody delivers is an error here.

Between stages a failed chunk is one packed record of 56 bytes and one per stage: a cold cache in
front of 400,000 chunks costs 23 MB.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING

from images.digests import ChunkId, Digest
from images.errors import (
    ChunkInvalid,
    ChunkMissing,
    DeviceFault,
    ImageError,
    OperatorMustAct,
    RetryLater,
    StoreUnavailable,
)
from images.events import EventSink, SourceFailed, ignore
from images.parallel import batches, default_threads, each
from images.sources import Source
from images.stores.protocol import Answer, ChunkRef, Peers, Stat, Store

if TYPE_CHECKING:
    from images.stores.local import LocalStore
    from images.stores.writing import StoreWriter

_SEVERITY = (RetryLater, DeviceFault, OperatorMustAct, ChunkInvalid, ImageError)
"""Which of a chunk's errors says what to do next: waiting may help; then what a person or a repair
can mend; and only when all stores work and none has it, `ChunkMissing`."""

_KEPT_AT_ONCE = 256 << 10
"""Bytes of chunks that one thread compresses and writes into the cache at a time."""


@dataclass(frozen=True, slots=True)
class StoreCounts:
    """What one store of a chain did so far.

    Attributes:
        name: of the store.
        chunks: delivered.
        transferred: bytes that came from it, failures included.
        failures: how many chunks it failed on, by error code.
    """

    name: str
    chunks: int
    transferred: int
    failures: Mapping[str, int]


class Chain:
    """A `Store` made of a cache and stores in order of preference.

    Attributes:
        stores: without the cache.
        cache: asked first, None if there is none.
        peers: neighbours that may have chunks; None if there are none.
    """

    def __init__(
        self,
        stores: Sequence[Store],
        cache: LocalStore | None = None,
        on_event: EventSink = ignore,
        *,
        keep_local: bool = False,
        peers: Peers | None = None,
    ) -> None:
        """Join stores; the chain closes them.

        Args:
            stores: none is a chain that has nothing.
            cache: asked first, and given what remote stores deliver. Trouble with writing it is
                reported, and ends no fetch.
            on_event: told of every failure, except that the cache does not have a chunk.
            keep_local: give the cache what local stores deliver, too: they may be on a stick.
            peers: what planning asks; some store has to fetch from them.
        """
        self._stages: tuple[Store, ...] = (*([cache] if cache else []), *stores)
        self.stores = tuple(stores)
        self.cache = cache
        self.peers = peers
        self._on_event = on_event
        self._keep_local = keep_local
        self._tallies = [_Tally() for _ in self._stages]

    @property
    def name(self) -> str:
        """The names of all stores."""
        return ", ".join(store.name for store in self._stages)

    @property
    def remote(self) -> bool:
        """Some store is remote."""
        return any(store.remote for store in self._stages)

    @property
    def counts(self) -> tuple[StoreCounts, ...]:
        """What each store did so far, the cache first."""
        return tuple(
            StoreCounts(store.name, tally.chunks, tally.transferred, tally.frozen_failures())
            for store, tally in zip(self._stages, self._tallies, strict=True)
        )

    def fetch(self, wanted: Iterable[ChunkRef], digest: Digest) -> Iterator[Answer]:
        """Yield one answer for each wanted chunk.

        An answer with an error names every store's reason. `transferred` includes what other
        stores sent in vain.
        """
        if not self._stages:
            for ref in wanted:
                missing = ChunkMissing(f"chunk {ref.id.hex()}: there is no store to ask")
                yield Answer(ref, None, missing, 0, self.name)
            return
        keeper = _Keeper(self.cache)
        pending: _Pending | None = None
        try:
            for stage in range(len(self._stages)):
                failed = _Pending(stage + 1)
                refs = wanted if pending is None else pending.refs()
                for answer in self._ask(stage, refs, digest, pending, keeper):
                    ref, spent, errors = _history(answer, pending)
                    self._count(stage, answer)
                    if answer.error is None:
                        kind = Source.CACHE if self._is_cache(stage) else answer.kind
                        yield Answer(ref, answer.data, None, spent, answer.source, kind)
                    elif stage + 1 < len(self._stages):
                        failed.add(ref, spent, (*errors, type(answer.error)))
                    else:
                        final = self._final_error(ref.id, errors, answer.error)
                        yield replace(answer, ref=ref, transferred=spent, error=final)
                pending = failed
        finally:
            keeper.close()
            if keeper.error is not None:
                self._tell(keeper.name, None, keeper.error)

    def stat(self, wanted: Iterable[ChunkRef]) -> Iterator[Stat]:
        """Yield for each wanted chunk what the first store says that has it.

        Raises:
            StoreUnavailable: some chunk was found nowhere, and some store could not say.
        """
        pending = _Pending(0)
        for ref in wanted:
            pending.add(ref, 0, ())
        silent: list[str] = []
        for store in self._stages:
            found = bytearray(len(pending))
            try:
                for stat in store.stat(pending.refs()):
                    if stat.present:
                        found[stat.ref.number] = True
                        yield replace(stat, ref=pending.get(stat.ref.number)[0])
            except StoreUnavailable as error:
                self._tell(store.name, None, error)
                silent.append(f"{store.name}: {error}")
            pending = pending.without(found)
        if silent and len(pending):
            raise StoreUnavailable("; ".join(silent))
        for position in range(len(pending)):
            yield Stat(pending.get(position)[0], False, None)

    def close(self) -> None:
        """Close every store."""
        for store in self._stages:
            store.close()

    def _is_cache(self, stage: int) -> bool:
        return self._stages[stage] is self.cache

    def _ask(
        self,
        stage: int,
        refs: Iterable[ChunkRef],
        digest: Digest,
        pending: _Pending | None,
        keeper: _Keeper,
    ) -> Iterator[Answer]:
        store = self._stages[stage]
        answers = store.fetch(refs, digest)
        if self.cache is None or store is self.cache:
            return answers
        return self._kept(
            answers, partial(keeper.keep, pending=pending, wanted=store.remote or self._keep_local)
        )

    @staticmethod
    def _kept(answers: Iterator[Answer], keep: Callable[[Answer], Answer]) -> Iterator[Answer]:
        groups = batches(answers, lambda answer: answer.ref.length, _KEPT_AT_ONCE)
        for group in each(groups, lambda group: [keep(a) for a in group], default_threads()):
            yield from group

    def _count(self, stage: int, answer: Answer) -> None:
        tally, store = self._tallies[stage], self._stages[stage]
        tally.transferred += answer.transferred
        if answer.error is None:
            tally.chunks += 1
            return
        tally.failures[answer.error.code] += 1
        if not (store is self.cache and isinstance(answer.error, ChunkMissing)):
            self._tell(store.name, answer.ref.id, answer.error)

    def _tell(self, source: str, chunk_id: ChunkId | None, error: ImageError) -> None:
        chunk = None if chunk_id is None else chunk_id.hex()
        self._on_event(SourceFailed(source, chunk, error.code, str(error)))

    def _final_error(
        self, chunk_id: ChunkId, errors: Sequence[type[ImageError]], last: ImageError
    ) -> ImageError:
        if not errors:
            return last
        kinds = (*errors, type(last))
        reasons = [kind.code.removeprefix("image.").replace("-", " ") for kind in kinds]
        message = "; ".join(
            f"{store.name}: {reason}" for store, reason in zip(self._stages, reasons, strict=True)
        )
        kind = min(kinds, key=_severity)
        return kind(f"chunk {chunk_id.hex()}: {message}; the last said: {last}")


def _severity(kind: type[ImageError]) -> int:
    return next(rank for rank, base in enumerate(_SEVERITY) if issubclass(kind, base))


@dataclass(slots=True)
class _Tally:
    chunks: int = 0
    transferred: int = 0
    failures: Counter[str] = field(default_factory=Counter)

    def frozen_failures(self) -> Mapping[str, int]:
        return MappingProxyType(dict(self.failures))


class _Pending:
    """Chunks that stores have failed on so far, packed.

    Their `refs` are numbered by position here, so that an answer finds its record.
    """

    def __init__(self, stages: int) -> None:
        self._record = struct.Struct(f"<qQQ32s{stages}s")
        self._packed = bytearray()
        self._kinds: list[type[ImageError]] = []

    def __len__(self) -> int:
        return len(self._packed) // self._record.size

    def add(self, ref: ChunkRef, transferred: int, errors: Sequence[type[ImageError]]) -> None:
        for kind in errors:
            if kind not in self._kinds:
                self._kinds.append(kind)
        kinds = bytes(map(self._kinds.index, errors))
        self._packed += self._record.pack(ref.number, ref.length, transferred, ref.id, kinds)

    def get(self, position: int) -> tuple[ChunkRef, int, tuple[type[ImageError], ...]]:
        """Return the caller's ref, the bytes transferred in vain, and the error of each stage."""
        number, length, transferred, chunk_id, kinds = self._record.unpack_from(
            self._packed, position * self._record.size
        )
        errors = tuple(self._kinds[kind] for kind in kinds)
        return ChunkRef(number, ChunkId(chunk_id), length), transferred, errors

    def refs(self) -> Iterator[ChunkRef]:
        return (replace(self.get(number)[0], number=number) for number in range(len(self)))

    def without(self, found: bytearray) -> _Pending:
        rest = _Pending(0)
        for position, is_found in enumerate(found):
            if not is_found:
                rest.add(self.get(position)[0], 0, ())
        return rest


def _history(
    answer: Answer, pending: _Pending | None
) -> tuple[ChunkRef, int, tuple[type[ImageError], ...]]:
    """Return the caller's ref, the bytes transferred with this answer, and earlier errors."""
    if pending is None:
        return answer.ref, answer.transferred, ()
    ref, transferred, errors = pending.get(answer.ref.number)
    return ref, transferred + answer.transferred, errors


class _Keeper:
    """Writes the cache, until that fails.

    Attributes:
        error: the first failure.
    """

    def __init__(self, cache: LocalStore | None) -> None:
        self.name = "" if cache is None else cache.name
        self.error: ImageError | None = None
        self._writer: StoreWriter | None = None
        if cache is not None:
            try:
                self._writer = cache.writer()
            except ImageError as error:
                self.error = error

    def keep(self, answer: Answer, pending: _Pending | None, wanted: bool) -> Answer:
        """Put a delivered chunk into the cache, over a damaged one; threads may call at once."""
        damaged = pending is not None and ChunkInvalid in pending.get(answer.ref.number)[2][:1]
        if answer.data is None or self._writer is None or self.error is not None:
            return answer
        if wanted or damaged:
            try:
                self._writer.put(answer.ref.id, answer.data, replace=damaged)
            except ImageError as error:
                self.error = self.error or error
        return answer

    def close(self) -> None:
        """Commit what was kept."""
        if self._writer is None:
            return
        try:
            self._writer.close()
        except ImageError as error:
            self.error = self.error or error

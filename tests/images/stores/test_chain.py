# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import errno
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from images import linux
from images.digests import ChunkId, Digest
from images.errors import (
    ChunkInvalid,
    ChunkMissing,
    DeviceFault,
    ImageError,
    NotAccessible,
    StoreUnavailable,
)
from images.events import Event, SourceFailed
from images.stores.chain import Chain, StoreCounts
from images.stores.local import LocalStore
from images.stores.protocol import Answer, ChunkRef, Stat

DIGEST = Digest.SHA256

Fault = Callable[[ChunkRef], ImageError | None]


class SimulatedStore:
    """A store in memory: has everything, but fails as `fault` says. No network, no files.

    It answers in reverse order by threes, and takes in `wanted` three at a time.
    """

    def __init__(
        self,
        name: str,
        fault: Fault = lambda ref: None,
        *,
        remote: bool = True,
        says: bool = True,
    ) -> None:
        self.name = name
        self.remote = remote
        self.asked: list[int] = []
        self.closed = False
        self.stopped = False
        self._fault = fault
        self._says = says

    def fetch(self, wanted: Iterable[ChunkRef], digest: Digest) -> Iterator[Answer]:
        try:
            few: list[ChunkRef] = []
            for ref in wanted:
                few.append(ref)
                if len(few) == 3:
                    yield from map(self._answer, reversed(few))
                    few.clear()
            yield from map(self._answer, reversed(few))
        finally:
            self.stopped = True

    def stat(self, wanted: Iterable[ChunkRef]) -> Iterator[Stat]:
        for ref in wanted:
            if not self._says:
                raise StoreUnavailable("down")
            present = self._fault(ref) is None
            yield Stat(ref, present, 10 if present else None)

    def close(self) -> None:
        self.closed = True

    def _answer(self, ref: ChunkRef) -> Answer:
        self.asked.append(number_of(ref.id))
        error = self._fault(ref)
        if error is None:
            return Answer(ref, content(number_of(ref.id)), None, 100, self.name)
        return Answer(ref, None, error, 1, self.name)


NUMBERS = {DIGEST.of(b"chunk %d" % number): number for number in range(1000)}


def content(number: int) -> bytes:
    return b"chunk %d" % number


def number_of(chunk_id: ChunkId) -> int:
    return NUMBERS[chunk_id]


def ref(number: int) -> ChunkRef:
    """Return the caller's ref of a chunk; the caller counts from -1000."""
    return ChunkRef(number - 1000, DIGEST.of(content(number)), len(content(number)))


def wanted(*numbers: int) -> list[ChunkRef]:
    return [ref(number) for number in numbers]


def fails(error: ImageError, *numbers: int) -> Fault:
    """Return a fault of some chunks, or of all."""

    def fault(asked: ChunkRef) -> ImageError | None:
        return error if not numbers or number_of(asked.id) in numbers else None

    return fault


def by_number(answers: Iterable[Answer]) -> dict[int, Answer]:
    found = {answer.ref.number + 1000: answer for answer in answers}
    for number, answer in found.items():
        assert answer.ref == ref(number)
    return found


@pytest.fixture
def events() -> list[Event]:
    return []


def test_the_first_store_that_delivers_is_enough() -> None:
    first, second = SimulatedStore("first"), SimulatedStore("second")
    answers = by_number(Chain([first, second]).fetch(wanted(*range(10)), DIGEST))
    assert {number: answer.data for number, answer in answers.items()} == {
        number: content(number) for number in range(10)
    }
    assert sorted(first.asked) == list(range(10))
    assert second.asked == []


@pytest.mark.parametrize(
    "error",
    [
        ChunkMissing("m"),
        ChunkInvalid("i"),
        StoreUnavailable("u"),
        NotAccessible("n"),
        DeviceFault("d"),
    ],
)
def test_what_one_store_fails_on_comes_from_the_next(
    error: ImageError, events: list[Event]
) -> None:
    first = SimulatedStore("first", fails(error, 2, 5))
    second = SimulatedStore("second")
    chain = Chain([first, second], on_event=events.append)
    answers = by_number(chain.fetch(wanted(*range(7)), DIGEST))
    assert all(answers[number].data == content(number) for number in range(7))
    assert sorted(second.asked) == [2, 5]
    assert (answers[2].source, answers[2].transferred) == ("second", 101)
    assert (answers[3].source, answers[3].transferred) == ("first", 100)
    assert chain.counts == (
        StoreCounts("first", 5, 502, {error.code: 2}),
        StoreCounts("second", 2, 200, {}),
    )
    failures = [event for event in events if isinstance(event, SourceFailed)]
    assert {event.chunk for event in failures} == {ref(2).id.hex(), ref(5).id.hex()}
    assert {(event.source, event.code) for event in failures} == {("first", error.code)}


def _chunk(event: Event) -> str:
    assert isinstance(event, SourceFailed)
    assert event.chunk is not None
    return event.chunk


@pytest.mark.parametrize(
    ("errors", "kind"),
    [
        ([ChunkMissing("no"), ChunkMissing("no")], ChunkMissing),
        ([ChunkInvalid("bad"), ChunkMissing("no")], ChunkInvalid),
        ([ChunkMissing("no"), ChunkInvalid("bad")], ChunkInvalid),
        ([StoreUnavailable("down"), ChunkInvalid("bad")], StoreUnavailable),
        ([ChunkMissing("no"), StoreUnavailable("down")], StoreUnavailable),
        ([NotAccessible("closed"), ChunkMissing("no")], NotAccessible),
        ([NotAccessible("closed"), StoreUnavailable("down")], StoreUnavailable),
    ],
)
def test_the_final_error_is_the_one_to_act_on_and_names_every_store(
    errors: list[ImageError], kind: type[ImageError]
) -> None:
    stores = [SimulatedStore(f"store{n}", fails(error)) for n, error in enumerate(errors)]
    (answer,) = Chain(stores).fetch(wanted(1), DIGEST)
    assert answer.data is None
    assert type(answer.error) is kind
    assert answer.transferred == 2
    message = str(answer.error)
    assert message.startswith(f"chunk {ref(1).id.hex()}: store0: ")
    for number, error in enumerate(errors):
        assert f"store{number}: {error.code.removeprefix('image.').replace('-', ' ')}" in message
    assert message.endswith(str(errors[-1]))


def test_the_error_of_a_single_store_is_its_own() -> None:
    error = ChunkInvalid("the very error")
    (answer,) = Chain([SimulatedStore("only", fails(error))]).fetch(wanted(1), DIGEST)
    assert answer.error is error


def test_a_chain_of_nothing_has_nothing() -> None:
    chain = Chain([])
    answers = by_number(chain.fetch(wanted(1, 2), DIGEST))
    assert all(isinstance(answer.error, ChunkMissing) for answer in answers.values())
    assert len(answers) == 2
    assert [stat.present for stat in chain.stat(wanted(1))] == [False]
    assert not chain.remote


def test_wanted_is_taken_as_answers_are() -> None:
    taken: list[int] = []

    def endless() -> Iterator[ChunkRef]:
        while True:
            taken.append(1)
            yield ref(len(taken) % 200)

    store = SimulatedStore("endless")
    answers = Chain([store, SimulatedStore("other")]).fetch(endless(), DIGEST)
    for _ in range(30):
        assert next(answers).data is not None
    assert len(taken) == 30
    del answers
    assert store.stopped


@given(
    table=st.lists(
        st.lists(st.sampled_from(["ok", "missing", "invalid", "down"]), min_size=3, max_size=3),
        max_size=40,
    )
)
@settings(max_examples=60, deadline=None)
def test_every_chunk_is_answered_once_by_the_first_store_that_can(table: list[list[str]]) -> None:
    kinds: dict[str, ImageError | None] = {
        "ok": None,
        "missing": ChunkMissing(""),
        "invalid": ChunkInvalid(""),
        "down": StoreUnavailable(""),
    }

    def fault(store: int) -> Fault:
        return lambda asked: kinds[table[number_of(asked.id)][store]]

    chain = Chain([SimulatedStore(str(store), fault(store)) for store in range(3)])
    answers = list(chain.fetch(wanted(*range(len(table))), DIGEST))
    assert len(answers) == len(table)
    for number, answer in by_number(answers).items():
        if "ok" in table[number]:
            assert answer.source == str(table[number].index("ok"))
            assert answer.data == content(number)
            assert answer.transferred == 100 + table[number].index("ok")
        else:
            assert answer.error is not None
            assert answer.transferred == 3
    assert sum(answer.transferred for answer in answers) == sum(
        counts.transferred for counts in chain.counts
    )


def test_what_remote_stores_deliver_is_kept(tmp_path: Path, events: list[Event]) -> None:
    cache = LocalStore(tmp_path / "cache")
    remote = SimulatedStore("remote")
    first = Chain([remote], cache, events.append)
    assert len(by_number(first.fetch(wanted(*range(20)), DIGEST))) == 20
    assert first.counts[0] == StoreCounts(cache.name, 0, 0, {"image.chunk-missing": 20})
    assert events == []  # that a cache lacks something is no failure
    second = Chain([remote], cache, events.append)
    answers = by_number(second.fetch(wanted(*range(20)), DIGEST))
    assert {answer.source for answer in answers.values()} == {cache.name}
    assert len(remote.asked) == 20
    assert second.counts[0].chunks == 20


def test_what_local_stores_deliver_is_not_kept(tmp_path: Path) -> None:
    cache = LocalStore(tmp_path / "cache")
    chain = Chain([SimulatedStore("local", remote=False)], cache)
    assert len(by_number(chain.fetch(wanted(1, 2), DIGEST))) == 2
    assert list(tmp_path.rglob("*.cacnk")) == []


@pytest.mark.parametrize("remote", [True, False])
def test_a_damaged_chunk_of_the_cache_is_told_and_replaced(
    remote: bool, tmp_path: Path, events: list[Event]
) -> None:
    cache = LocalStore(tmp_path / "cache")
    with cache.writer() as writer:
        for number in range(4):
            writer.put(ref(number).id, content(number))
    Path(cache.file(ref(2).id)).write_bytes(b"damaged")
    source = SimulatedStore("source", remote=remote)
    chain = Chain([source], cache, events.append)
    answers = by_number(chain.fetch(wanted(*range(4)), DIGEST))
    assert answers[2].data == content(2)
    assert source.asked == [2]
    assert chain.counts[0].failures == {"image.chunk-invalid": 1}
    assert [_chunk(event) for event in events] == [ref(2).id.hex()]
    (repaired,) = cache.fetch(wanted(2), DIGEST)
    assert repaired.data == content(2)


def test_closing_early_ends_requests_and_commits_what_was_kept(tmp_path: Path) -> None:
    cache = LocalStore(tmp_path / "cache")
    remote = SimulatedStore("remote")
    answers = Chain([remote], cache).fetch(wanted(*range(1000)), DIGEST)
    next(answers)
    assert isinstance(answers, Generator)
    answers.close()
    assert remote.stopped
    assert len(remote.asked) < 1000
    assert list(tmp_path.rglob("*.tmp")) == []
    assert len(list(tmp_path.rglob("*.cacnk"))) >= 1


def test_a_cache_that_cannot_be_written_ends_no_fetch(
    tmp_path: Path, events: list[Event], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, "simulated")

    monkeypatch.setattr(linux, "syncfs", full)
    for cache in (LocalStore(tmp_path / "cache"), LocalStore(tmp_path / "no" / "cache")):
        events.clear()
        chain = Chain([SimulatedStore("remote")], cache, events.append)
        answers = by_number(chain.fetch(wanted(*range(9)), DIGEST))
        assert all(answers[number].data == content(number) for number in range(9))
        assert [event.source for event in events if isinstance(event, SourceFailed)] == [cache.name]


def test_stat_is_of_the_first_store_that_has_it(events: list[Event]) -> None:
    first = SimulatedStore("first", fails(ChunkMissing("no"), 1, 2))
    second = SimulatedStore("second", fails(ChunkMissing("no"), 2))
    stats = {stat.ref: stat for stat in Chain([first, second]).stat(wanted(0, 1, 2))}
    assert stats == {
        ref(0): Stat(ref(0), True, 10),
        ref(1): Stat(ref(1), True, 10),
        ref(2): Stat(ref(2), False, None),
    }


def test_stat_fails_only_where_the_answer_depends_on_a_silent_store(events: list[Event]) -> None:
    silent = SimulatedStore("silent", says=False)
    second = SimulatedStore("second", fails(ChunkMissing("no"), 2))
    chain = Chain([silent, second], on_event=events.append)
    assert [stat.present for stat in chain.stat(wanted(0, 1))] == [True, True]
    assert events == [SourceFailed("silent", None, "image.store-unavailable", "down")]
    with pytest.raises(StoreUnavailable, match="silent: down"):
        list(chain.stat(wanted(0, 2)))


def test_names_and_close_are_of_all_stores(tmp_path: Path) -> None:
    stores = [SimulatedStore("a", remote=False), SimulatedStore("b")]
    cache = LocalStore(tmp_path / "cache")
    chain = Chain(stores, cache)
    assert chain.name == f"{cache.name}, a, b"
    assert (chain.stores, chain.cache, chain.remote) == (tuple(stores), cache, True)
    assert not Chain(stores[:1], cache).remote
    chain.close()
    assert [store.closed for store in stores] == [True, True]

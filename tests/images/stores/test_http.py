# SPDX-License-Identifier: Apache-2.0
"""What an HTTP store makes of a server's answers, with both libraries."""

from __future__ import annotations

import itertools
import socket
from collections.abc import Iterator
from dataclasses import replace

import pytest

from images.digests import Digest
from images.errors import ChunkInvalid, ChunkMissing, NotAccessible, StoreUnavailable
from images.stores.http import HttpStore
from images.stores.protocol import Answer, ChunkRef
from tests.chunk_site import CALM, QUICK, ChunkSite, fetch, http_url
from tests.faulty_server import (
    Exchange,
    corrupted,
    encoded,
    hung_up,
    reset,
    stalled,
    status,
    truncated,
)

pytestmark = pytest.mark.usefixtures("transfer_kind")


def errors(answers: list[Answer]) -> list[type | None]:
    return [None if answer.error is None else type(answer.error) for answer in answers]


def test_every_chunk_is_delivered_once() -> None:
    with ChunkSite(200) as site:
        answers = site.ask()
        assert errors(answers) == [None] * 200
        assert [a.transferred for a in answers] == [len(body) for body in site.bodies]
        assert {a.source for a in answers} == {site.url}
        assert len(site.server.requests) == 200


def test_connections_are_kept() -> None:
    with ChunkSite(100) as site:
        site.ask(settings=replace(CALM, in_flight_min=1, in_flight_start=1, in_flight_max=1))
        assert site.server.connections == 1


@pytest.mark.parametrize("tail", ["?token=1", ";v=1/2", "/", "//?a/b"])
def test_chunks_are_asked_for_below_the_path_of_the_store(tail: str) -> None:
    with ChunkSite(1) as site:
        [answer] = site.ask(url=site.url + tail)
        assert answer.error is None
        assert [seen.path for seen in site.server.requests] == [site.path(0)]
        assert answer.source == site.url


def test_the_suffix_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with ChunkSite(1) as site:
        old = site.path(0).replace(".cacnk", ".xz")
        site.server.files[old] = site.server.files.pop(site.path(0))
        monkeypatch.setenv("CASYNC_COMPRESSED_CHUNK_SUFFIX", ".xz")
        assert errors(site.ask()) == [None]


@pytest.mark.parametrize("code", [404, 410])
def test_a_missing_chunk_is_said_to_be_missing_at_once(code: int) -> None:
    with ChunkSite(3) as site:
        site.server.script(site.path(1), status(code, b"x" * 20_000))
        assert errors(site.ask()) == [None, ChunkMissing, None]
        assert site.server.count(site.path(1)) == 1


def test_a_corrupt_chunk_is_invalid_and_not_asked_for_again() -> None:
    with ChunkSite(3) as site:
        site.server.script(site.path(1), corrupted(40))
        answers = site.ask()
        assert errors(answers) == [None, ChunkInvalid, None]
        assert answers[1].transferred == len(site.bodies[1])
        assert site.server.count(site.path(1)) == 1


@pytest.mark.parametrize("passing", [hung_up, reset, status(500), status(503), status(408)])
def test_what_passes_is_tried_again(passing: object) -> None:
    with ChunkSite(3) as site:
        site.server.script(site.path(1), passing)  # type: ignore[arg-type]
        assert errors(site.ask()) == [None] * 3
        assert site.server.count(site.path(1)) == 2


def test_a_truncated_body_is_tried_again_and_counted() -> None:
    with ChunkSite(3) as site:
        site.server.script(site.path(1), truncated(1000))
        answers = site.ask()
        assert errors(answers) == [None] * 3
        assert answers[1].transferred == 1000 + len(site.bodies[1])


@pytest.mark.parametrize("after", [None, 0, 1000])
def test_a_stalled_transfer_is_given_up_and_tried_again(after: int | None) -> None:
    with ChunkSite(3) as site:
        site.server.script(site.path(1), stalled(after))
        # libcurl's speed is an average over 5 s: what came before the stall hides it for so long.
        assert errors(site.ask(settings=replace(QUICK, deadline_s=20))) == [None] * 3
        assert site.server.count(site.path(1)) == 2


def test_what_stays_bad_is_unavailable_after_the_deadline() -> None:
    with ChunkSite(3) as site:
        site.server.script(site.path(1), *[status(500)] * 1000)
        answers = site.ask(settings=QUICK)
        assert errors(answers) == [None, StoreUnavailable, None]
        assert "500" in str(answers[1].error)
        times = [seen.began_s for seen in site.server.requests if seen.path == site.path(1)]
        assert len(times) > 1
        assert times[-1] - times[0] <= QUICK.deadline_s + 1


def test_tries_are_bounded_by_bytes() -> None:
    with ChunkSite(1, length=100_000) as site:
        site.server.script(site.path(0), *[truncated(90_000)] * 1000)
        [answer] = site.ask(settings=replace(CALM, deadline_s=50))
        assert isinstance(answer.error, StoreUnavailable)
        assert answer.transferred <= 5 * 100_000


@pytest.mark.parametrize("code", [401, 403])
def test_a_forbidden_chunk_names_the_credentials(code: int) -> None:
    with ChunkSite(3) as site:
        site.server.script(site.path(1), status(code))
        answers = site.ask()
        assert errors(answers) == [None, NotAccessible, None]
        assert "credentials" in str(answers[1].error)
        assert str(code) in str(answers[1].error)
        assert site.server.count(site.path(1)) == 1


@pytest.mark.parametrize("code", [202, 203, 206, 300, 400, 416])
def test_only_200_is_success(code: int) -> None:
    with ChunkSite(2) as site:
        site.server.script(site.path(1), status(code, site.bodies[1]))
        answers = site.ask()
        assert errors(answers) == [None, StoreUnavailable]
        assert str(code) in str(answers[1].error)
        assert site.server.count(site.path(1)) == 1


def test_a_content_encoding_is_not_applied() -> None:
    with ChunkSite(1) as site:
        site.server.script(site.path(0), encoded)
        [answer] = site.ask()
        assert isinstance(answer.error, ChunkInvalid)
        assert site.server.requests[0].headers["accept-encoding"] == "identity"


def test_a_store_that_refuses_connections_is_down_for_all_chunks() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with ChunkSite(500) as site:
        answers = fetch(http_url(f"http://127.0.0.1:{port}/castr"), site.refs)
    assert errors(answers) == [StoreUnavailable] * 500
    assert sum("is down" in str(answer.error) for answer in answers) > 300


def test_a_store_that_stalls_costs_one_stall_and_not_one_a_chunk() -> None:
    with ChunkSite(500) as site:
        site.server.script("*", stalled())
        assert errors(site.ask(settings=QUICK)) == [StoreUnavailable] * 500
        first = site.server.requests[0].began_s
        assert len(site.server.requests) <= 3 * QUICK.in_flight_start
        assert site.server.requests[-1].began_s - first < 3


def test_a_store_that_forbids_everything_is_not_asked_for_everything() -> None:
    with ChunkSite(500) as site:
        site.server.script("*", status(401))
        assert errors(site.ask()) == [NotAccessible] * 500
        assert len(site.server.requests) < 100


def test_a_store_that_falls_silent_is_given_up_after_the_deadline() -> None:
    with ChunkSite(500) as site:
        site.server.script("*", *[Exchange.well] * 50, stalled(10))
        answers = site.ask(settings=QUICK)
        assert errors(answers).count(None) == 50
        assert errors(answers).count(StoreUnavailable) == 450
        assert len(site.server.requests) < 250


def test_a_store_that_is_down_stays_down() -> None:
    with ChunkSite(50) as site:
        site.server.script("*", stalled())
        store = HttpStore(http_url(site.url), QUICK)
        list(store.fetch(site.refs, Digest.SHA512_256))
        asked = len(site.server.requests)
        answers = list(store.fetch(site.refs, Digest.SHA512_256))
        assert errors(answers) == [StoreUnavailable] * 50
        assert len(site.server.requests) == asked
        store.close()


def test_a_store_with_nothing_is_not_down() -> None:
    with ChunkSite(1) as site:
        refs = [site.missing(number) for number in range(1, 100)] + site.refs
        assert errors(site.ask(refs)) == [ChunkMissing] * 99 + [None]


def test_nothing_wanted_asks_nothing() -> None:
    with ChunkSite(1) as site:
        assert site.ask([]) == []
        assert site.server.requests == []


def test_what_is_wanted_is_not_consumed_all_at_once() -> None:
    with ChunkSite(2) as site:
        consumed = itertools.count()

        def endless() -> Iterator[ChunkRef]:
            for number in itertools.count():
                next(consumed)
                yield replace(site.refs[0], number=number)

        store = HttpStore(http_url(site.url), CALM)
        answers = store.fetch(endless(), Digest.SHA512_256)
        for answer in itertools.islice(answers, 20):
            assert answer.data == site.data[0]
        del answers
        store.close()
        assert next(consumed) <= 20 + 2 * CALM.in_flight_max + 1


def test_an_error_of_the_caller_ends_the_fetch() -> None:
    with ChunkSite(2) as site:

        def broken() -> Iterator[ChunkRef]:
            yield site.refs[0]
            raise KeyError("mine")

        store = HttpStore(http_url(site.url), CALM)
        with pytest.raises(KeyError, match="mine"):
            list(store.fetch(broken(), Digest.SHA512_256))
        store.close()


def test_stat_says_what_is_there_and_how_long() -> None:
    with ChunkSite(3) as site:
        store = HttpStore(http_url(site.url), CALM)
        wanted = [*site.refs, site.missing(3)]
        stats = sorted(store.stat(wanted), key=lambda stat: stat.ref.number)
        store.close()
        assert [stat.ref for stat in stats] == wanted
        assert [stat.present for stat in stats] == [True, True, True, False]
        assert [stat.stored_length for stat in stats] == [*map(len, site.bodies), None]
        assert {seen.method for seen in site.server.requests} == {"HEAD"}


@pytest.mark.parametrize("code", [401, 405, 500])
def test_stat_does_not_guess(code: int) -> None:
    with ChunkSite(3) as site:
        site.server.script("*", status(code))
        store = HttpStore(http_url(site.url), QUICK)
        with pytest.raises(StoreUnavailable, match=str(code)):
            list(store.stat(site.refs))
        store.close()

# SPDX-License-Identifier: Apache-2.0
"""Bytes, time, requests in flight, threads and files: everything has a bound."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from images.chunkfile import longest_body
from images.digests import Digest
from images.errors import ChunkInvalid, StoreUnavailable
from images.stores.http import HttpStore
from tests.chunk_site import CALM, ChunkSite, http_url
from tests.faulty_server import Exchange, delayed, endless, stalled, status

pytestmark = pytest.mark.usefixtures("transfer_kind")


def eventually(condition: Callable[[], bool]) -> bool:
    """Wait until it holds, at most 10 s."""
    end_s = time.monotonic() + 10
    while not condition():
        if time.monotonic() > end_s:
            return False
        time.sleep(0.02)
    return True


@pytest.mark.parametrize("announced", [True, False])
def test_an_endless_body_is_cut_at_what_a_chunk_can_have(announced: bool) -> None:
    with ChunkSite(2, length=20_000) as site:
        site.server.script(site.path(1), endless(announced))
        good, bad = site.ask()
        assert good.error is None
        assert isinstance(bad.error, ChunkInvalid)
        assert bad.transferred <= longest_body(20_000)
        assert site.server.count(site.path(1)) == 1


def test_an_endless_error_page_is_cut_too() -> None:
    with ChunkSite(1, length=100) as site:
        site.server.script(site.path(0), status(500, bytes(1 << 20)))
        [answer] = site.ask()
        assert answer.error is None
        assert answer.transferred <= longest_body(100) + len(site.bodies[0])


def test_many_requests_are_in_flight() -> None:
    with ChunkSite(200) as site:
        site.server.script("*", delayed(0.02))
        site.ask()
        assert site.server.peak > 8


def test_in_flight_stays_below_its_limit() -> None:
    with ChunkSite(60) as site:
        site.server.script("*", delayed(0.02))
        site.ask(settings=replace(CALM, in_flight_min=1, in_flight_start=2, in_flight_max=3))
        assert site.server.peak <= 3


def test_bytes_in_flight_are_bounded() -> None:
    with ChunkSite(12, length=5 << 20) as site:
        site.server.script("*", delayed(0.05))
        site.ask(settings=CALM)
        assert site.server.peak <= 2  # of 5 MiB, in 12 MiB


def test_a_slow_caller_holds_no_more_than_the_limit() -> None:
    with ChunkSite(12, length=5 << 20) as site:
        store = HttpStore(http_url(site.url), CALM)
        answers = store.fetch(site.refs, Digest.SHA512_256)
        next(answers)
        # The caller works on its first chunk: not more than 12 MiB may come meanwhile.
        assert eventually(lambda: len(site.server.requests) == 2)
        time.sleep(0.3)
        assert len(site.server.requests) == 2
        answers.close()  # type: ignore[attr-defined]
        store.close()


def test_a_chunk_over_the_limit_comes_alone() -> None:
    with ChunkSite(3, length=17 << 20) as site:
        site.ask(settings=CALM)
        assert site.server.peak == 1


@pytest.mark.parametrize("code", [429, 503])
def test_retry_after_in_seconds_is_honoured(code: int) -> None:
    with ChunkSite(1) as site:
        site.server.script(site.path(0), status(code, Retry_After="2"), status(500))
        [answer] = site.ask()
        assert answer.error is None
        first, second, _ = (seen.began_s for seen in site.server.requests)
        assert second - first >= 2


@pytest.mark.parametrize("code", [429, 503])
def test_retry_after_as_a_date_is_honoured(code: int) -> None:
    with ChunkSite(1) as site:
        soon = (datetime.now(UTC) + timedelta(seconds=3)).replace(microsecond=0)
        said = format_datetime(soon, usegmt=True)
        site.server.script(site.path(0), status(code, Retry_After=said))
        [answer] = site.ask()
        assert answer.error is None
        _, second = (seen.began_s for seen in site.server.requests)
        assert second + time.time() - time.monotonic() >= soon.timestamp() - 0.05


def test_retry_after_holds_for_the_whole_store() -> None:
    with ChunkSite(40) as site:
        settings = replace(CALM, in_flight_min=1, in_flight_start=1, in_flight_max=1)
        site.server.script(site.path(5), status(429, Retry_After="1"))
        site.ask(settings=settings)
        times = [seen.began_s for seen in site.server.requests]
        said = next(seen for seen in site.server.requests if seen.path == site.path(5)).began_s
        assert not [t for t in times if said < t < said + 0.99]


def test_a_store_that_asks_to_be_left_alone_for_long_is_down() -> None:
    with ChunkSite(300) as site:
        site.server.script("*", status(429, Retry_After="3600"))
        answers = site.ask()
        assert all(isinstance(answer.error, StoreUnavailable) for answer in answers)
        assert len(site.server.requests) <= 2 * CALM.in_flight_start


def test_fewer_requests_are_made_of_a_store_that_is_busy() -> None:
    with ChunkSite(100) as site:
        site.server.script("*", *[status(503)] * 16, delayed(0.02))
        settings = replace(CALM, in_flight_min=2, in_flight_start=16, in_flight_max=16)
        answers = site.ask(settings=settings)
        assert all(answer.error is None for answer in answers)
        late = site.server.requests[40:80]
        # 40 requests that take 20 ms each, 8 at a time; with 16 it would be half.
        assert late[-1].began_s - late[0].began_s > 0.02 * (40 / 16) * 1.3


def test_the_rate_limit_holds_over_all_requests() -> None:
    with ChunkSite(30, length=10_000) as site:
        began_s = time.monotonic()
        answers = site.ask(settings=replace(CALM, rate_limit_bps=100_000, deadline_s=30))
        passed_s = time.monotonic() - began_s
        assert all(answer.error is None for answer in answers)
        # 300 kB at 100 kB/s; one second's worth may be in flight unpaid at the end.
        assert passed_s >= 1.9


def test_the_rate_limit_holds_within_one_chunk() -> None:
    with ChunkSite(1, length=3_000_000) as site:
        began_s = time.monotonic()
        [answer] = site.ask(settings=replace(CALM, rate_limit_bps=1_000_000, deadline_s=30))
        assert answer.error is None
        # libcurl 7.88 lets 1.6 MB pass before it looks at the clock.
        assert time.monotonic() - began_s >= 1


def _files() -> set[str]:
    return {f"{fd} {os.readlink(f'/proc/self/fd/{fd}')}" for fd in _open_files()}


def _open_files() -> list[str]:
    return [fd for fd in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{fd}")]


@pytest.mark.parametrize("taken", [0, 1, 20])
def test_an_early_close_leaves_no_thread_and_no_file(taken: int) -> None:
    with ChunkSite(60) as site:
        site.ask(site.refs[:2])
        asked = len(site.server.requests)
        files = len(_open_files())
        site.server.script("*", *[Exchange.well] * taken, stalled(100))
        store = HttpStore(http_url(site.url), replace(CALM, low_speed_time_s=50, deadline_s=50))
        answers = store.fetch(site.refs, Digest.SHA512_256)
        for _ in range(taken):
            next(answers)
        if taken > 1:  # the only answer may have come before anything else was asked for
            assert eventually(lambda: len(site.server.requests) > asked + taken)
        began_s = time.monotonic()
        answers.close()  # type: ignore[attr-defined]
        assert time.monotonic() - began_s < 20, "it waited for the stalled requests"
        assert _ours() == set()
        store.close()
        site.server.release()
        assert eventually(lambda: len(_open_files()) <= files), _files()


def test_connections_end_with_the_store() -> None:
    with ChunkSite(60) as site:
        files = len(_open_files())
        store = HttpStore(http_url(site.url), CALM)
        for _ in range(3):
            assert len(list(store.fetch(site.refs, Digest.SHA512_256))) == 60
        assert site.server.connections <= 64
        store.close()
        assert eventually(lambda: len(_open_files()) <= files), _files()
        assert _ours() == set()


def _ours() -> set[str]:
    names = {thread.name for thread in threading.enumerate()}
    return {name for name in names if name.startswith(("http", "decode"))}

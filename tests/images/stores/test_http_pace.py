# SPDX-License-Identifier: Apache-2.0
"""The number of requests in flight, and rules that need no network; the clock is the test's."""

from __future__ import annotations

import time

import pytest

from images.deadline import CEILING_S, FLOOR_S, Backoff, Deadline
from images.errors import StoreUnavailable
from images.stores.pace import TokenBucket, Window
from images.stores.rules import Again, Attempts, retry_after_s
from images.stores.transfer import Reply, Request, scrubbed


class Clock:
    """A monotonic clock that stands still unless it is told to go on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 1000.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now_s)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def rounds(window: Window, clock: Clock, count: int, best: int) -> list[int]:
    """Answer as a server whose throughput grows with the window up to `best` in flight."""
    sizes = []
    for _ in range(count):
        for _ in range(2 * window.size):
            clock.now_s += 0.1 / min(window.size, best)
            window.answered(40_000)
        sizes.append(window.size)
    return sizes


def test_the_window_doubles_while_that_pays(clock: Clock) -> None:
    assert rounds(Window(4, 16, 64), clock, 5, best=1000) == [32, 64, 64, 64, 64]


def test_the_window_goes_back_when_it_does_not_pay(clock: Clock) -> None:
    assert rounds(Window(4, 16, 64), clock, 4, best=16) == [32, 16, 16, 16]


def test_the_window_tries_again_later(clock: Clock) -> None:
    window = Window(4, 16, 64)
    rounds(window, clock, 30, best=16)
    assert window.size == 16
    assert max(rounds(window, clock, 40, best=1000)) == 64


def test_an_overloaded_store_gets_half_and_once_for_requests_of_the_same_time(
    clock: Clock,
) -> None:
    window = Window(4, 32, 64)
    started_s = clock.now_s - 0.02
    for _ in range(10):
        window.overloaded(started_s)
    assert window.size == 16
    window.overloaded(clock.now_s + 1)
    assert window.size == 8
    for later in range(2, 9):
        window.overloaded(clock.now_s + later)
    assert window.size == 4


def test_a_token_bucket_makes_up_for_what_was_taken_too_early(clock: Clock) -> None:
    bucket = TokenBucket(1000)
    assert bucket.wait_s == 0
    bucket.take(500)
    bucket.take(1500)
    assert bucket.wait_s == pytest.approx(2.0)
    clock.now_s += 10
    assert bucket.wait_s == 0
    bucket.take(1000)
    assert bucket.wait_s == pytest.approx(1.0), "unused time is not saved up"


def test_no_rate_is_no_limit(clock: Clock) -> None:
    bucket = TokenBucket(None)
    bucket.take(1 << 40)
    assert bucket.wait_s == 0


def test_waits_stay_between_floor_and_ceiling() -> None:
    for _ in range(50):
        backoff = Backoff()
        waits = [backoff.next_s() for _ in range(20)]
        assert all(FLOOR_S <= wait <= CEILING_S for wait in waits)
        assert waits[0] <= 3 * FLOOR_S
    assert max(waits) > 10 * FLOOR_S


def test_a_deadline_can_be_renewed(clock: Clock) -> None:
    deadline = Deadline(5)
    clock.now_s += 3
    assert deadline.remaining_s == pytest.approx(2)
    deadline.renew()
    clock.now_s += 4.5
    assert not deadline.expired
    clock.now_s += 1
    assert deadline.expired
    assert deadline.remaining_s == 0


@pytest.mark.parametrize(
    ("field", "seconds"),
    [
        (None, None),
        ("7", 7.0),
        (" 0 ", 0.0),
        ("-1", None),
        ("soon", None),
        ("1.5", None),
        ("", None),
    ],
)
def test_retry_after_in_seconds(field: str | None, seconds: float | None) -> None:
    assert retry_after_s(field) == seconds


def test_retry_after_as_a_date(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 784111777.0)
    # The three forms of RFC 9110, 5.6.7, for 784111777 s after the epoch, and one 60 s later.
    assert retry_after_s("Sun, 06 Nov 1994 08:49:37 GMT") == 0
    assert retry_after_s("Sunday, 06-Nov-94 08:50:37 GMT") == 60
    assert retry_after_s("Sun, 06 Nov 1994 08:50:37 GMT") == 60
    assert retry_after_s("Sun, 06 Nov 1990 08:50:37 GMT") == 0


def test_the_first_failure_starts_the_clock(clock: Clock) -> None:
    request = Request(url="http://h/x", head=False, credentials=True, limit=100)
    attempts = Attempts("x", request, 10.0)
    clock.now_s += 1000  # a long transfer, which then breaks
    broken = Reply(request, 500, b"", None, "", None, None, None, 10)
    assert isinstance(attempts.judge(broken).then, Again)
    clock.now_s += 11
    assert isinstance(attempts.judge(broken).then, StoreUnavailable)


def test_words_of_a_library_are_scrubbed() -> None:
    said = "Unsupported proxy syntax in 'http://me:p@ss/w@[bad': Bad IPv6 address"
    assert scrubbed(said) == "Unsupported proxy syntax in 'http://[bad': Bad IPv6 address"

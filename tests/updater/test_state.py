# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from updater.state import (
    FIRST_BACKOFF,
    LONGEST_BACKOFF,
    MOST_FAILED_TRIES,
    MOST_FAILURES,
    MOST_HISTORY,
    Content,
    Entry,
    Failure,
    SlotRecord,
    State,
    TrustRecord,
)

NOW = datetime(2026, 11, 5, 12, tzinfo=UTC)
RELEASE = bytes(range(32))


def active(sequence: int | None = 7) -> State:
    record = SlotRecord(content=Content.ACTIVE, release=RELEASE, sequence=sequence, last_error="x")
    return State(
        pending_trust=TrustRecord(2, ("F",), 1, b"ring"),
        pending_created=NOW,
    ).with_slot("B", record)


def test_an_unknown_slot_is_empty() -> None:
    assert State().slot("A").content is Content.EMPTY


def test_one_slot_changes_alone() -> None:
    record = SlotRecord(content=Content.GOOD)
    state = State().with_slot("A", record).with_slot("B", SlotRecord())
    assert state.slot("A") is record


def test_the_newest_lines_of_history_stay() -> None:
    state = State()
    for number in range(MOST_HISTORY + 5):
        state = state.noted(Entry(NOW, str(number)))
    assert [entry.what for entry in state.history] == [str(n) for n in range(5, MOST_HISTORY + 5)]


def test_a_failed_release_waits_longer_every_time_and_then_for_good() -> None:
    state, waits = State(), []
    for _ in range(MOST_FAILED_TRIES):
        state = state.failed(RELEASE, "did not boot", NOW)
        waits.append(state.failures[RELEASE.hex()].not_before)
    assert waits == [NOW + FIRST_BACKOFF, NOW + 8 * FIRST_BACKOFF, None]
    assert state.failures[RELEASE.hex()] == Failure(3, None, "did not boot")


def test_a_release_can_be_given_up_at_once() -> None:
    state = State().failed(RELEASE, "rolled back", NOW, for_good=True)
    assert state.failures[RELEASE.hex()].not_before is None


@given(st.integers(0, 10**9))
def test_no_count_makes_the_waiting_overflow(count: int) -> None:
    before = State(failures={RELEASE.hex(): Failure(count, None, "")})
    found = before.failed(RELEASE, "", NOW).failures[RELEASE.hex()]
    assert found.count == count + 1
    assert found.not_before is None or found.not_before - NOW <= LONGEST_BACKOFF


@given(st.lists(st.binary(min_size=1, max_size=2), max_size=60))
def test_failures_are_bounded_and_the_last_ones_stay(releases: list[bytes]) -> None:
    state = State()
    for release in releases:
        state = state.failed(release, "", NOW)
    newest = list(dict.fromkeys(reversed(releases)))[:MOST_FAILURES]
    assert list(state.failures) == [release.hex() for release in reversed(newest)]


def test_proving_good_moves_sequence_and_keys_up() -> None:
    later = NOW + timedelta(hours=1)
    state = active().failed(RELEASE, "", NOW).proved("B", later)
    assert state.highest_sequence == 7
    assert state.trust == TrustRecord(2, ("F",), 1, b"ring")
    assert state.last_signed == NOW
    assert (state.pending_trust, state.pending_created) == (None, None)
    assert state.failures == {}
    record = state.slot("B")
    assert (record.content, record.confirmed, record.confirmations) == (Content.GOOD, later, 1)
    assert record.last_error is None


def test_neither_sequence_nor_keys_nor_time_ever_go_back() -> None:
    later = NOW + timedelta(days=1)
    new = TrustRecord(3, ("G",), 1, b"newer")
    state = active(sequence=5)
    state = State(
        slots=state.slots,
        highest_sequence=9,
        last_signed=later,
        trust=new,
        pending_trust=state.pending_trust,
        pending_created=NOW,
    ).proved("B", later)
    assert (state.highest_sequence, state.last_signed, state.trust) == (9, later, new)
    assert active(sequence=None).proved("B", NOW).highest_sequence == 0


def test_a_slot_that_was_not_tried_brings_no_keys() -> None:
    state = active().with_slot("A", SlotRecord(content=Content.GOOD)).proved("A", NOW)
    assert state.trust is None
    assert state.pending_trust is not None

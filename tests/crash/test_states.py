# SPDX-License-Identifier: Apache-2.0
"""What a medium may hold, by hand: flushes by file and folder, tears on block borders, lies."""

from __future__ import annotations

from tests.crash.media import (
    Entry,
    Flush,
    FlushNames,
    Medium,
    Names,
    Operation,
    Resize,
    Variable,
    Write,
    Zero,
)
from tests.crash.states import crashes, lies, points

BEFORE = Medium.holding({"a": b"aaaa", "b": b"bbbb"})
A, B, NEW = 0, 1, 2
REPLACED = (
    Names(".", (("new", NEW),)),
    Write(NEW, 0, b"content"),
    Flush(NEW),
    Names(".", (("new", None), ("a", NEW))),
    FlushNames("."),
)


def _log(*operations: Operation) -> list[Entry]:
    return [Entry("step", operation) for operation in operations]


def _held(*operations: Operation) -> set[tuple[tuple[str, bytes], ...]]:
    """Return all that the medium may hold at any moment."""
    found = list(points(BEFORE, _log(*operations)))
    return {tuple(sorted(crash.files().items())) for crash in crashes(found, 1, 1000)}


def test_of_what_was_not_flushed_any_part_may_be_there() -> None:
    held = _held(Write(A, 0, b"1"), Write(A, 2, b"2"), Write(B, 4, b"3"))
    assert held == {
        (("a", a), ("b", b))
        for a in (b"aaaa", b"1aaa", b"aa2a", b"1a2a")
        for b in (b"bbbb", b"bbbb3")
    }


def test_a_flush_is_of_one_file() -> None:
    held = _held(Write(A, 0, b"1"), Write(B, 0, b"2"), Flush(A), Write(A, 1, b"3"))
    assert (("a", b"aaaa"), ("b", b"bbbb")) in held
    assert (("a", b"13aa"), ("b", b"bbbb")) in held
    assert (("a", b"a3aa"), ("b", b"bbbb")) not in held


def test_a_flush_of_all_leaves_nothing_to_lose() -> None:
    last = list(points(BEFORE, _log(*REPLACED[:2], Zero(B, 1, 2), Flush(None))))[-1]
    assert last.medium.pending == ()
    assert last.medium.files(()) == {"a": b"aaaa", "b": b"b\0\0b", "new": b"content"}


def test_a_file_that_is_replaced_well_is_the_old_one_or_the_new_one() -> None:
    assert {dict(files)["a"] for files in _held(*REPLACED)} == {b"aaaa", b"content"}


def test_a_file_that_is_replaced_without_a_flush_may_be_empty() -> None:
    held = {dict(files)["a"] for files in _held(*REPLACED[:2], *REPLACED[3:])}
    assert held == {b"aaaa", b"content", b""}


def test_overlapping_writes_may_come_in_any_order() -> None:
    held = {dict(files)["a"] for files in _held(Write(A, 0, b"11"), Write(A, 1, b"22"))}
    assert held == {b"aaaa", b"11aa", b"a22a", b"122a", b"112a"}


def test_a_variable_of_the_firmware_is_there_with_the_call() -> None:
    log = _log(Resize(A, 1), Variable("c", NEW, b"value"), Variable("c", NEW, None))
    first, then, last = (point.medium.files(()) for point in points(BEFORE, log))
    assert (first["a"], then["a"], then["c"]) == (b"aaaa", b"aaaa", b"value")
    assert last.keys() == {"a", "b"}


def test_writes_tear_on_borders_of_sectors_and_pages() -> None:
    found = list(points(Medium.holding({"a": bytes(9000)}), _log(Write(A, 100, b"x" * 8500))))
    borders: dict[str, set[int]] = {}
    for crash in crashes(found, 1, 120):
        content = crash.files()["a"]
        steps = {at for at in range(1, 9000) if content[at] != content[at - 1]}
        borders.setdefault(crash.way, set()).update(steps)
    assert borders.keys() == {"prefix", "subset", "torn 512", "torn 4096"}
    assert borders["torn 4096"] == {100, 4096, 8192, 8600}
    assert borders["torn 512"] == {100, 8600, *range(512, 8600, 512)}


def test_the_same_seed_gives_the_same_states_and_none_twice() -> None:
    found = list(
        points(BEFORE, _log(*(Write(A, at, bytes(2000)) for at in range(0, 40_000, 2000))))
    )
    first, again = (list(crashes(found, 7, 500)) for _ in range(2))
    assert first == again
    assert len({(crash.point.number, crash.chosen) for crash in first}) == 500


def test_after_a_lie_what_was_flushed_may_be_lost() -> None:
    log = _log(Write(A, 0, b"1"), Flush(A), Write(B, 0, b"2"), Flush(B))
    held = {(crash.way, *crash.files().values()) for crash in lies(BEFORE, log, 1, 100)}
    assert ("lied", b"aaaa", b"2bbb") in held

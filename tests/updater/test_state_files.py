# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from images.digests import Digest
from images.errors import NoSpace, NotAccessible
from images.index import Index, IndexBuilder
from images.sizes import ChunkSizes
from tests.capabilities import require_root
from tests.loops import run
from updater.errors import StateCorrupt, StateNewer
from updater.plain import to_plain
from updater.state import (
    MOST_FAILURES,
    MOST_HISTORY,
    Content,
    Entry,
    Failure,
    ImageRecord,
    Rates,
    SlotRecord,
    State,
    TrustRecord,
)
from updater.state_files import MAX_LENGTH, StateFiles, parse_state, state_bytes

NOW = datetime(2026, 11, 5, 12, tzinfo=UTC)

_MOMENTS = st.none() | st.datetimes(
    datetime(1970, 1, 1), datetime(2105, 1, 1), timezones=st.just(UTC)
).map(lambda moment: moment.replace(microsecond=0))
_COUNTS = st.integers(0, 1 << 63)
_TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
_IMAGES = st.builds(
    ImageRecord,
    st.binary(min_size=32, max_size=32),
    _COUNTS,
    st.dictionaries(_TEXTS, _COUNTS, max_size=2),
    _COUNTS,
)
_SLOTS = st.builds(
    SlotRecord,
    content=st.sampled_from(Content),
    release=st.binary(max_size=32),
    version=_TEXTS,
    sequence=st.none() | _COUNTS,
    images=st.dictionaries(_TEXTS, _IMAGES, max_size=2),
    started=_MOMENTS,
    confirmed=_MOMENTS,
    attempts=_COUNTS,
    last_error=st.none() | _TEXTS,
)
_TRUST = st.none() | st.builds(
    TrustRecord, _COUNTS, st.lists(_TEXTS, max_size=2).map(tuple), _COUNTS, st.binary(max_size=9)
)
STATES = st.builds(
    State,
    generation=_COUNTS,
    written=_MOMENTS,
    highest_sequence=_COUNTS,
    last_signed=_MOMENTS,
    slots=st.dictionaries(_TEXTS, _SLOTS, max_size=2),
    trust=_TRUST,
    pending_trust=_TRUST,
    failures=st.dictionaries(_TEXTS, st.builds(Failure, _COUNTS, _MOMENTS, _TEXTS), max_size=2),
    history=st.lists(
        st.builds(Entry, _MOMENTS.filter(bool), _TEXTS, _TEXTS | st.none()), max_size=2
    ).map(tuple),
    rates=st.builds(
        Rates,
        st.dictionaries(_TEXTS, st.floats(allow_nan=False, allow_infinity=False), max_size=2),
    ),
)


def marked(sequence: int) -> State:
    return State(highest_sequence=sequence)


def saved(folder: Path, times: int = 2) -> StateFiles:
    """Save `times` states; the sequence of each is its number."""
    files = StateFiles(folder)
    state = files.load()
    for number in range(1, times + 1):
        state = files.save(replace(state, highest_sequence=number), NOW)
    return files


def copies(folder: Path) -> list[Path]:
    return sorted(folder.glob("state-*.json"))


def signed(body: object) -> bytes:
    text = json.dumps(body, sort_keys=True, separators=(",", ":")).encode()
    return b'{"sha256":"%s","state":%s}' % (hashlib.sha256(text).hexdigest().encode(), text)


@given(STATES)
def test_every_state_comes_back_as_it_was(state: State) -> None:
    assert parse_state(state_bytes(state)) == state


def test_the_bytes_are_canonical_and_digested() -> None:
    data = state_bytes(marked(3))
    document = json.loads(data)
    body = json.dumps(document["state"], sort_keys=True, separators=(",", ":")).encode()
    assert document["sha256"] == hashlib.sha256(body).hexdigest()
    assert body in data
    assert data == state_bytes(parse_state(data))


def test_without_files_the_state_is_fresh_and_nothing_is_damaged(tmp_path: Path) -> None:
    files = StateFiles(tmp_path / "nothing")
    assert files.load() == State()
    assert (files.damage, files.lost) == ((), False)
    assert not (tmp_path / "nothing").exists()
    assert files.load_whole() == State()


def test_copies_are_written_in_turn(tmp_path: Path) -> None:
    saved(tmp_path, 3)
    generations = [parse_state(path.read_bytes()).generation for path in copies(tmp_path)]
    assert generations == [3, 2]
    assert {path.stat().st_mode & 0o777 for path in copies(tmp_path)} == {0o600}
    again = StateFiles(tmp_path)
    assert again.load().highest_sequence == 3
    again.save(marked(4), NOW)
    assert parse_state(copies(tmp_path)[1].read_bytes()).highest_sequence == 4


def test_a_save_returns_what_the_next_load_finds(tmp_path: Path) -> None:
    written = StateFiles(tmp_path).save(marked(1), NOW)
    assert (written.generation, written.written) == (1, NOW)
    assert StateFiles(tmp_path).load() == written


@pytest.mark.parametrize("number", [0, 1])
def test_the_other_copy_is_used_where_one_is_damaged_and_the_next_write_mends_it(
    number: int, tmp_path: Path
) -> None:
    saved(tmp_path)
    bad = copies(tmp_path)[number]
    data = bytearray(bad.read_bytes())
    data[len(data) // 2] ^= 1
    bad.write_bytes(data)
    files = StateFiles(tmp_path)
    state = files.load()
    assert state.highest_sequence == 2 - number
    assert [str(bad) in text for text in files.damage] == [True]
    assert not files.lost
    files.save(replace(state, highest_sequence=9), NOW)
    assert files.damage == ()
    again = StateFiles(tmp_path)
    assert (again.load().highest_sequence, again.damage) == (9, ())


def test_two_damaged_copies_are_told_of_and_both_replaced(tmp_path: Path) -> None:
    saved(tmp_path)
    for path in copies(tmp_path):
        path.write_bytes(b"")
    files = StateFiles(tmp_path)
    assert files.load() == State()
    assert (len(files.damage), files.lost) == (2, True)
    with pytest.raises(StateCorrupt, match="cannot be believed"):
        files.load_whole()
    files.save(marked(5), NOW)
    again = StateFiles(tmp_path)
    assert (again.load().highest_sequence, again.damage, again.lost) == (5, (), False)


Damage: TypeAlias = tuple[str, int, int]

_DAMAGE = st.one_of(
    st.tuples(st.just("flip"), st.integers(0, 1 << 20), st.integers(1, 255)),
    st.tuples(st.just("cut"), st.integers(0, 1 << 20), st.just(0)),
    st.tuples(st.just("fill"), st.integers(0, 300), st.integers(0, 255)),
    st.tuples(st.just("remove"), st.just(0), st.just(0)),
)


def damage(path: Path, kind: Damage) -> None:
    what, where, how = kind
    data = bytearray(path.read_bytes())
    if what == "flip":
        data[where % len(data)] ^= how
    elif what == "cut":
        del data[where % len(data) :]
    elif what == "fill":
        data = bytearray([how]) * where
    path.unlink()
    if what != "remove":
        path.write_bytes(data)


@given(kind=_DAMAGE, number=st.sampled_from([0, 1]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_damage_to_one_copy_leaves_the_other(kind: Damage, number: int, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "state", ignore_errors=True)
    saved(tmp_path / "state")
    bad = copies(tmp_path / "state")[number]
    before = bad.read_bytes()
    damage(bad, kind)
    harmless = bad.exists() and _same_json(before, bad.read_bytes())
    files = StateFiles(tmp_path / "state")
    survivor = 2 if number == 0 or harmless else 1
    assert files.load().highest_sequence == survivor
    assert bool(files.damage) == (bad.exists() and not harmless)
    files.save(marked(7), NOW)
    assert StateFiles(tmp_path / "state").load().highest_sequence == 7


@given(one=_DAMAGE, two=_DAMAGE)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_damage_to_both_copies_raises_nothing(one: Damage, two: Damage, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "state", ignore_errors=True)
    saved(tmp_path / "state")
    for path, kind in zip(copies(tmp_path / "state"), (one, two), strict=True):
        damage(path, kind)
    files = StateFiles(tmp_path / "state")
    assert files.load().highest_sequence in (0, 1, 2)
    files.save(marked(7), NOW)
    again = StateFiles(tmp_path / "state")
    assert (again.load().highest_sequence, again.lost) == (7, False)


def _same_json(one: bytes, other: bytes) -> bool:
    try:
        return bool(json.loads(one) == json.loads(other))
    except ValueError:
        return False


class PowerCut(BaseException):
    """The machine went off before this step."""


def cut_power(patch: pytest.MonkeyPatch, cut_at: int) -> None:
    """Let the machine go off after so many steps; nothing is cleaned up then."""
    done: list[str] = []

    def hook(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def step(*arguments: object, **named: object) -> object:
            if len(done) >= cut_at:
                raise PowerCut
            done.append(name)
            return real(*arguments, **named)

        return step

    for name in ("open", "write", "fchmod", "fsync", "rename"):
        patch.setattr(os, name, hook(name, getattr(os, name)))
    patch.setattr(Path, "unlink", hook("unlink", Path.unlink))


@pytest.mark.parametrize("before", [0, 1, 2, 3, "damaged", "lost"])
def test_every_prefix_of_a_write_leaves_the_old_state_or_the_new(
    before: int | str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    template = tmp_path / "template"
    template.mkdir()
    saved(template, before if isinstance(before, int) else 2)
    for path in copies(template)[: {"damaged": 1, "lost": 2}.get(str(before), 0)]:
        path.write_bytes(b"{")
    cut_at, outcomes = 0, []
    while True:
        folder = tmp_path / f"cut-{cut_at}"
        shutil.copytree(template, folder)
        files = StateFiles(folder)
        old = files.load()
        with monkeypatch.context() as patch:
            cut_power(patch, cut_at)
            try:
                files.save(replace(old, highest_sequence=77), NOW)
                finished = True
            except PowerCut:
                finished = False
        found = StateFiles(folder).load()
        assert found == old or found.highest_sequence == 77
        outcomes.append(found.highest_sequence == 77)
        again = StateFiles(folder)
        again.save(replace(again.load(), highest_sequence=88), NOW)
        assert StateFiles(folder).load().highest_sequence == 88
        assert {path.name for path in folder.iterdir()} <= {"state-0.json", "state-1.json"}
        if finished:
            break
        cut_at += 1
    assert cut_at >= 6
    assert outcomes == sorted(outcomes)
    assert outcomes[0] is False
    assert outcomes[-1] is True


def test_the_newest_copy_is_never_the_one_that_is_written(tmp_path: Path) -> None:
    written: list[str] = []

    def note(path: Path, data: bytes, mode: int) -> None:
        newest = max(copies(tmp_path), key=_generation, default=None)
        assert path != newest
        written.append(path.name)
        path.write_bytes(data)

    for _ in range(6):
        files = StateFiles(tmp_path, write=note)
        files.save(files.load(), NOW)
    assert written == ["state-0.json", "state-1.json"] * 3


def _generation(path: Path) -> int:
    return parse_state(path.read_bytes()).generation


def test_a_state_that_begins_afresh_outranks_what_is_there(tmp_path: Path) -> None:
    saved(tmp_path, 5)
    files = StateFiles(tmp_path)
    files.load()
    assert files.save(marked(0), NOW).generation == 6
    assert StateFiles(tmp_path).load().highest_sequence == 0


def test_a_failed_write_leaves_what_was_there(tmp_path: Path) -> None:
    files = saved(tmp_path)
    before = [path.read_bytes() for path in copies(tmp_path)]

    def full(path: Path, data: bytes, mode: int) -> None:
        raise NoSpace("full")

    broken = StateFiles(tmp_path, write=full)
    with pytest.raises(NoSpace):
        broken.save(broken.load(), NOW)
    assert [path.read_bytes() for path in copies(tmp_path)] == before
    assert files.load().highest_sequence == 2


@pytest.mark.root
def test_a_full_disk_and_a_read_only_one_are_told_of_and_change_nothing(tmp_path: Path) -> None:
    require_root()
    folder = tmp_path / "small"
    folder.mkdir()
    run("mount", "-t", "tmpfs", "-o", "size=64k", "none", folder)
    try:
        saved(folder)
        filler = folder / "filler"
        with pytest.raises(OSError, match="No space"), open(filler, "wb", buffering=0) as file:
            while True:
                file.write(bytes(4096))
        files = StateFiles(folder)
        state = files.load()
        with pytest.raises(NoSpace):
            files.save(replace(state, highest_sequence=9), NOW)
        assert StateFiles(folder).load() == state
        assert {path.name for path in folder.iterdir()} == {
            *("filler", "state-0.json", "state-1.json")
        }
        filler.unlink()
        run("mount", "-o", "remount,ro", folder)
        with pytest.raises(NotAccessible, match="Read-only"):
            files.save(replace(state, highest_sequence=9), NOW)
        assert StateFiles(folder).load() == state
        run("mount", "-o", "remount,rw", folder)
        files.save(replace(state, highest_sequence=9), NOW)
        assert StateFiles(folder).load().highest_sequence == 9
    finally:
        run("umount", folder)


def test_a_later_schema_is_refused_politely_and_left_alone(tmp_path: Path) -> None:
    saved(tmp_path)
    later = to_plain(State(generation=3))
    assert isinstance(later, dict)
    path = copies(tmp_path)[0]
    path.write_bytes(signed({**later, "schema": 2, "slots": "of another kind"}))
    with pytest.raises(StateNewer, match="schema 2"):
        StateFiles(tmp_path).load()


def test_fields_that_a_later_caflip_added_are_left_out() -> None:
    state = State(generation=3, slots={"A": SlotRecord(version="1")}, history=(Entry(NOW, "x"),))
    body: Any = to_plain(state)
    body["added"] = {"deep": 1}
    body["slots"]["A"]["added"] = [1]
    body["history"][0]["added"] = None
    assert parse_state(signed(body)) == state


def test_fields_that_an_earlier_caflip_did_not_have_take_their_defaults() -> None:
    assert parse_state(signed({"schema": 1, "generation": 4})) == State(generation=4)


@pytest.mark.parametrize(
    "body",
    [
        *(None, 5, [], {"schema": "1"}, {"generation": True}, {"slots": []}, {"history": {}}),
        *({"slots": {"A": {"content": "odd"}}}, {"slots": {"A": {"content": []}}}),
        *({"rates": {"by_phase": {"x": 10**400}}}, {"written": "yesterday"}, {"trust": {}}),
        *({"pending_trust": {"version": "xyz"}}, {"failures": {"a": None}}, {"schema": 1.5}),
    ],
)
def test_a_right_checksum_over_nonsense_is_not_believed(body: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_state(signed(body))


@pytest.mark.parametrize(
    "data",
    [
        *(b"", b"{}", b"null", b"[" * 100_000, b"\xff\xfe", b'{"sha256":1,"state":{}}'),
        *(b'{"sha256":"", "state":NaN}', b'{"sha256":"","state":' + b"9" * 5000 + b"}"),
        b'{"sha256":"","state":' + b"[" * 5000 + b"]" * 5000 + b"}",
    ],
)
def test_bytes_that_are_no_state_are_not_believed(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_state(data)


def test_a_copy_is_never_too_long_to_be_read_again() -> None:
    long = "x" * 500
    slot = SlotRecord(
        images={str(n): ImageRecord(bytes(32), 1, {long: 1}) for n in range(8)}, last_error=long
    )
    state = State(slots={str(n): slot for n in range(4)}, trust=TrustRecord(1, (), 1, bytes(65536)))
    for _ in range(MOST_HISTORY + 1):
        state = state.noted(Entry(NOW, "what", long, long, long))
    for number in range(MOST_FAILURES + 1):
        state = state.failed(bytes([number]) * 32, long, NOW)
    assert len(state_bytes(state)) < MAX_LENGTH


def test_a_copy_that_is_too_long_is_not_read(tmp_path: Path) -> None:
    saved(tmp_path, 1)
    copies(tmp_path)[0].write_bytes(bytes(MAX_LENGTH + 1))
    files = StateFiles(tmp_path)
    files.load()
    assert "longer than" in files.damage[0]


def test_a_copy_that_is_no_file_counts_as_damaged(tmp_path: Path) -> None:
    (tmp_path / "state-0.json").mkdir()
    files = StateFiles(tmp_path)
    assert files.load() == State()
    assert files.lost
    assert "Is a directory" in files.damage[0]


def index_of(data: bytes) -> Index:
    builder = IndexBuilder(ChunkSizes.of(), Digest.SHA512_256)
    builder.append(len(data), Digest.SHA512_256.of(data))
    return builder.finish()


def test_the_index_of_a_slot_is_found_by_its_digest_only(tmp_path: Path) -> None:
    files = StateFiles(tmp_path / "state")
    index = index_of(b"content")
    sha256 = hashlib.sha256(index.to_bytes()).digest()
    assert files.load_index("A", "rootfs", sha256) is None
    files.keep_index("A", "rootfs", index)
    found = files.load_index("A", "rootfs", sha256)
    assert found is not None
    assert found.to_bytes() == index.to_bytes()
    path = files.index_path("A", "rootfs", sha256)
    assert path == tmp_path / "state/index-A-rootfs.caibx"
    assert files.load_index("A", "boot", sha256) is None
    assert files.load_index("A", "rootfs", bytes(32)) is None
    data = bytearray(path.read_bytes())
    data[-60] ^= 1
    path.write_bytes(data)
    assert files.index_path("A", "rootfs", sha256) is None


def test_a_kept_index_that_is_none_is_not_loaded(tmp_path: Path) -> None:
    (tmp_path / "index-A-rootfs.caibx").write_bytes(b"no index")
    sha256 = hashlib.sha256(b"no index").digest()
    assert StateFiles(tmp_path).load_index("A", "rootfs", sha256) is None

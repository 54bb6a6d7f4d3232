# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.updater.releases.releases_made import (
    IMAGE,
    RELEASE,
    device,
    reading,
    release,
)
from tests.updater.releases.signing_keys import MADE, NOW
from updater.errors import (
    Expired,
    ImageTooLarge,
    Incompatible,
    ReleaseRefused,
    Rollback,
    SlotClassUnknown,
)
from updater.releases.policy import judge, judge_time, rollout_place

SECOND = timedelta(seconds=1)
moments = st.datetimes(datetime(1971, 1, 1), datetime(2090, 1, 1), timezones=st.just(UTC))


def test_a_release_for_this_device_may_be_installed() -> None:
    judged = judge(RELEASE, device())
    assert judged.turn
    assert not judged.again
    assert judged.caveats == ()


@pytest.mark.parametrize("kind", ["acme", "ACME,gateway", "acme,gateway2", ""])
def test_a_release_for_another_kind_is_refused(kind: str) -> None:
    with pytest.raises(Incompatible) as refused:
        judge(RELEASE, device(compatible=kind))
    assert refused.value.code == "release.incompatible"


def test_variants_are_held_only_where_a_release_names_some() -> None:
    judge(RELEASE, device(variant=None))
    judge(release(variants=("nand", "emmc")), device(variant="emmc"))
    for variant in ("ufs", None):
        with pytest.raises(Incompatible, match="nand, emmc"):
            judge(release(variants=("nand", "emmc")), device(variant=variant))


@given(st.integers(1, 1 << 53), st.integers(0, 1 << 53))
def test_sequences_go_up_or_stay(sequence: int, highest: int) -> None:
    asked = release(sequence=min(sequence, (1 << 53) - 1))
    here = device(highest_sequence=highest)
    if asked.sequence < highest:
        with pytest.raises(Rollback):
            judge(asked, here)
    else:
        assert judge(asked, here).again == (asked.sequence == highest)


def test_a_rollback_says_both_numbers() -> None:
    with pytest.raises(Rollback, match="sequence 42; 43 proved good") as refused:
        judge(RELEASE, device(highest_sequence=43))
    assert refused.value.code == "release.rollback"


def test_it_expires_at_its_second() -> None:
    until = RELEASE.expires
    assert judge_time(RELEASE, reading(until - SECOND)) == ()
    with pytest.raises(Expired) as refused:
        judge_time(RELEASE, reading(until))
    assert refused.value.code == "release.expired"


def test_it_expires_by_the_lower_bound_however_slow_the_clock() -> None:
    slow = reading(datetime(1970, 1, 1, tzinfo=UTC), lower_bound=RELEASE.expires)
    with pytest.raises(Expired, match="when this program was made"):
        judge_time(RELEASE, slow)


def test_a_slow_clock_is_a_caveat_and_no_refusal() -> None:
    (caveat,) = judge(RELEASE, device(reading=reading(MADE - SECOND))).caveats
    assert "cannot be judged" in caveat
    assert "2027-01-19T00:00:00Z" in caveat


def test_a_release_from_the_future_of_a_plausible_clock_is_a_caveat() -> None:
    (caveat,) = judge_time(RELEASE, reading(RELEASE.created - SECOND))
    assert "seems to be slow" in caveat


@given(moments, moments, moments, moments)
def test_time_moves_one_way(
    system: datetime, later: datetime, lower: datetime, end: datetime
) -> None:
    """What has expired stays expired at every later reading of a clock that is plausible."""
    system, later = sorted((system, later))
    lower = min(lower, system)
    try:
        asked = release(
            created=datetime(1970, 6, 1, tzinfo=UTC), expires=end.replace(microsecond=0)
        )
        judge_time(asked, reading(system, lower))
    except Expired:
        with pytest.raises(Expired):
            judge_time(asked, reading(later, lower))


def test_a_class_that_is_not_here_is_refused() -> None:
    asked = release(images={"rootfs": IMAGE, "appfs": IMAGE})
    with pytest.raises(SlotClassUnknown, match="'appfs'") as refused:
        judge(asked, device())
    assert refused.value.code == "release.slot-class-unknown"


def test_a_class_without_an_image_is_refused_unless_it_may_stay() -> None:
    here = device(slot_lengths={"rootfs": 8192, "appfs": 8192})
    with pytest.raises(SlotClassUnknown, match="no image"):
        judge(RELEASE, here)
    judge(RELEASE, replace(here, optional_classes=frozenset({"appfs"})))


@given(st.integers(1, 1 << 40), st.integers(0, 1 << 40))
def test_an_image_fits_to_the_byte(length: int, room: int) -> None:
    asked = release(images={"rootfs": replace(IMAGE, image_length=length, file_system=None)})
    here = device(slot_lengths={"rootfs": room})
    if length > room:
        with pytest.raises(ImageTooLarge, match=f"{length} bytes; the slot has {room}"):
            judge(asked, here)
    else:
        judge(asked, here)


@given(st.text("0123456789abcdef", min_size=32, max_size=32), st.integers(0, 1000))
def test_turns_only_come(machine: str, part: int) -> None:
    here = device(machine_id=machine)
    judged = judge(release(rollout=part), here)
    assert judged.turn == (judged.place < part)
    assert 0 <= judged.place < 1000
    assert judge(release(rollout=1000), here).turn
    assert judge(release(rollout=None), here).turn
    assert not judge(release(rollout=0), here).turn
    # Raising the part, publishing again with other dates and notes: the place stays.
    again = release(rollout=min(1000, part + 1), notes="again", expires=NOW + timedelta(days=99))
    assert judge(again, here).place == judged.place
    assert judge(again, here).turn or not judged.turn


def test_the_order_is_another_one_at_each_release_and_even() -> None:
    machines = [f"{number:032x}" for number in range(4000)]
    first = [rollout_place(release(sequence=1), machine) for machine in machines]
    second = [rollout_place(release(sequence=2), machine) for machine in machines]
    early = [number for number, place in enumerate(first) if place < 100]
    assert 300 < len(early) < 500  # 400 expected, 19 is the standard deviation
    both = sum(second[number] < 100 for number in early)
    assert both < 80  # 40 expected of two independent orders


def test_a_roll_out_does_not_hide_a_refusal() -> None:
    for here in (device(compatible="x"), device(highest_sequence=99), device(slot_lengths={})):
        with pytest.raises(ReleaseRefused):
            judge(release(rollout=0), here)


def test_facts_of_a_device_do_not_show_its_machine_id() -> None:
    assert "0123456789abcdef" not in repr(device())

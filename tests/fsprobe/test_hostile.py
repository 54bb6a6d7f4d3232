# SPDX-License-Identifier: Apache-2.0
"""Damaged, cut, overlaid and random images of every kind.

Whatever comes: None, a superblock within the device, or a ProbeError. Where a checksum covers the
superblock, a damaged one never answers with another length or another UUID.
"""

from __future__ import annotations

import os
from pathlib import Path
from unittest import mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fsprobe import ProbeError, Superblock, probe
from fsprobe.device import READ_BUDGET
from tests.fsprobe.footprint import Footprint, Footprints, answer, decoded, footprint, laid_out
from tests.fuzz.running import run_fuzzer

FUZZ_RUNS = 4000

CHECKED = (
    *("bcachefs", "btrfs", "erofs", "ext4", "f2fs", "nilfs2", "xfs", "zonefs"),
    *("apfs", "exfat", "luks2", "lvm", "md_0", "md_1_2", "ubifs", "uimage"),
)
"""Samples whose superblocks carry a checksum over all that is told of them."""

# Choices are plain numbers, taken modulo what there is to choose from.
choices = st.integers(0, 1 << 32)
examples = settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@pytest.fixture(scope="session")
def footprints(sample_images: dict[str, Path]) -> Footprints:
    return Footprints({name: footprint(image) for name, image in sample_images.items()})


def chosen(footprints: Footprints, choice: int) -> Footprint:
    names = sorted(footprints)
    return footprints[names[choice % len(names)]]


def flipped(whole: Footprint, *bits: int) -> Footprint:
    """Flip some bits of what the probe reads."""
    sectors = dict(whole.sectors)
    for choice in bits:
        at = sorted(sectors)[choice % len(sectors)]
        bit = choice // len(sectors) % (len(sectors[at]) * 8)
        raw = bytearray(sectors[at])
        raw[bit // 8] ^= 1 << bit % 8
        sectors[at] = bytes(raw)
    return Footprint(whole.length, sectors)


@given(image=choices, bits=st.lists(choices, min_size=1, max_size=4))
@examples
def test_flipped_bits(image: int, bits: list[int], footprints: Footprints) -> None:
    with laid_out(flipped(chosen(footprints, image), *bits)) as fd:
        answer(fd)


@given(name=st.sampled_from(CHECKED), bit=choices)
@examples
def test_one_flipped_bit_under_a_checksum_never_changes_the_answer(
    name: str, bit: int, footprints: Footprints
) -> None:
    whole = footprints[name]
    with laid_out(whole) as fd:
        before = probe(fd)
    with laid_out(flipped(whole, bit)) as fd:
        after = answer(fd)
    assert before is not None
    if isinstance(after, Superblock):
        assert (after.length, after.uuid) == (before.length, before.uuid)


@given(
    image=choices,
    place=choices,
    size=st.sampled_from([1, 2, 4, 8]),
    byte=st.sampled_from([b"\0", b"\1", b"\x7f", b"\xff"]),
)
@examples
def test_fields_at_their_limits(
    image: int, place: int, size: int, byte: bytes, footprints: Footprints
) -> None:
    """Any aligned field set to zero, to all ones and the like."""
    whole = chosen(footprints, image)
    at = sorted(whole.sectors)[place % len(whole.sectors)]
    raw = whole.sectors[at]
    field = place // len(whole.sectors) % max(1, len(raw) // size) * size
    changed = (raw[:field] + byte * size + raw[field + size :])[: len(raw)]
    with laid_out(Footprint(whole.length, whole.sectors | {at: changed})) as fd:
        answer(fd)


@given(image=choices, length=st.sampled_from([1, 511, 512, 1024, 2048, 4096]) | choices)
@examples
def test_cut_short(image: int, length: int, footprints: Footprints) -> None:
    """A device that ends before the file system does is refused, or not recognised at all."""
    whole = chosen(footprints, image)
    with laid_out(whole) as fd:
        before = probe(fd)
    assert before is not None
    length %= before.length or whole.length
    with laid_out(whole, length=length) as fd:
        after = answer(fd)
    if isinstance(after, Superblock):
        assert after.length is None or after.length <= length


@given(below=choices, above=choices)
@examples
def test_two_images_over_each_other(below: int, above: int, footprints: Footprints) -> None:
    """One of the two is found, or none is believed, but nothing third."""
    parts = chosen(footprints, below), chosen(footprints, above)
    kinds = []
    for part in parts:
        with laid_out(part) as fd:
            found = probe(fd)
            assert found is not None
            kinds.append(found.kind)
    with laid_out(*parts) as fd:
        after = answer(fd)
    if isinstance(after, Superblock):
        assert after.kind in kinds


@given(data=st.binary(max_size=1 << 12), at=st.sampled_from([0, 1024, 4096, 32768, 65536]))
@examples
def test_random_bytes(data: bytes, at: int) -> None:
    with laid_out(Footprint(1 << 20, {at: data})) as fd:
        answer(fd)


def test_reads_are_bounded(footprints: Footprints) -> None:
    """In all, no kind of image makes a probe read more than one format's budget."""
    pread = os.pread
    for name, whole in footprints.items():
        lengths: list[int] = []

        def counting(fd: int, length: int, offset: int, to: list[int] = lengths) -> bytes:
            to.append(length)
            return pread(fd, length, offset)

        with laid_out(whole) as fd, mock.patch("os.pread", counting):
            answer(fd)
        assert sum(lengths) < READ_BUDGET, name


def test_a_footprint_survives_its_encoding(footprints: Footprints) -> None:
    for whole in footprints.values():
        assert decoded(whole.to_bytes()) == whole


def test_fuzzed(footprints: Footprints, tmp_path: Path) -> None:
    """Coverage-guided: a fixed number of runs from the sample images."""
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for name, whole in footprints.items():
        (corpus / name).write_bytes(whole.to_bytes())
    done = run_fuzzer("superblocks", FUZZ_RUNS, tmp_path, seeds=corpus)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"Done {FUZZ_RUNS} runs" in done.stderr


def test_the_errors_that_leave_probe_tell_what_to_do() -> None:
    for word in ("truncated", "corrupt", "ambiguous"):
        error = ProbeError(word, "ext4", "message")
        assert (error.code, error.exit_status) == (f"probe.{word}", 65)
        assert str(error) == "ext4: message"
        assert error.hint

# SPDX-License-Identifier: Apache-2.0
"""The text of a file of metrics, held against the rules of the exposition format."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from images.errors import NotAccessible
from tests.updater.exposition import parse
from updater.metrics import Family, Kind, Sample, gauge, read_samples, render, write

TEXTS = st.text(alphabet=st.one_of(st.sampled_from('\\"\n,{}= '), st.characters(codec="utf-8")))


@given(st.lists(TEXTS, unique=True, max_size=5), TEXTS)
def test_any_text_is_a_label(values: list[str], meaning: str) -> None:
    family = gauge("caflip_x", meaning, [Sample(n, {"of": v}) for n, v in enumerate(values)])
    found = parse(render([family]))
    assert [(dict(one.labels)["of"], one.value) for one in found] == [
        (value, float(n)) for n, value in enumerate(values)
    ]


@given(st.lists(TEXTS, unique=True, max_size=5))
def test_what_was_written_can_be_read_again(values: list[str]) -> None:
    import tempfile

    samples = [Sample(n / 7, {"of": value, "and": "x"}) for n, value in enumerate(values)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.prom"
        write(path, [gauge("caflip_x", "x", samples), gauge("caflip_y", "y", samples)])
        assert read_samples(path, ["caflip_x"]) == {"caflip_x": samples}


def test_large_numbers_lose_no_digit() -> None:
    family = gauge("caflip_x_bytes", "x", [Sample((1 << 60) + 1)])
    assert f" {(1 << 60) + 1}\n" in render([family])


@pytest.mark.parametrize(
    "families",
    [
        [gauge("caflip x", "x", [Sample(1)])],
        [gauge("caflip_x", "x", [Sample(1, {"a-b": "x"})])],
        [gauge("caflip_x", "x", [Sample(1, {"a": "x"}), Sample(2, {"a": "x"})])],
        [gauge("caflip_x", "x", [Sample(1)]), gauge("caflip_x", "x", [Sample(1)])],
    ],
)
def test_what_node_exporter_would_refuse_is_not_written(families: list[Family]) -> None:
    with pytest.raises(ValueError, match=r"caflip|a-b"):
        render(families)


def test_a_family_without_samples_is_left_out() -> None:
    assert render([Family("caflip_x_total", Kind.COUNTER, "x", [])]) == ""


def test_the_file_is_replaced_whole_and_may_be_read_by_others(tmp_path: Path) -> None:
    path = tmp_path / "caflip.prom"
    write(path, [gauge("caflip_x", "x", [Sample(1)])])
    with path.open() as before:
        write(path, [gauge("caflip_x", "x", [Sample(2)])])
        assert before.read().endswith("caflip_x 1\n"), "who has it open reads all of the old one"
    assert path.read_text().endswith("caflip_x 2\n")
    assert path.stat().st_mode & 0o777 == 0o644
    assert os.listdir(tmp_path) == ["caflip.prom"]


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(NotAccessible, match="No such file"):
        write(tmp_path / "none/x.prom", [])


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"caflip_x 1\n",
        b"\xff\xff",
        b'caflip_x{of="a"} one\n',
        b'caflip_x{of="a} 1\n',
        b'caflip_x{of="a"} NaN\n',
        b'caflip_xy{of="a"} 1\n',
    ],
)
def test_what_cannot_be_read_again_is_left_out(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.prom"
    path.write_bytes(content)
    assert read_samples(path, ["caflip_x"]) == {"caflip_x": []}
    assert read_samples(tmp_path, ["caflip_x"]) == {"caflip_x": []}

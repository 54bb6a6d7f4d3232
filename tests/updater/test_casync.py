# SPDX-License-Identifier: Apache-2.0
"""caflip under the name `casync` and Debian's casync, side by side on the same work."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.capabilities import require_tool
from tests.updater.running import Run, casync_named, content, run_process

pytestmark = pytest.mark.interop


class Pair:
    """Runs a line with both in folders of their own."""

    def __init__(self, folder: Path) -> None:
        self.ours = folder / "ours"
        self.theirs = folder / "theirs"
        self._program = str(casync_named(folder))
        for side in (self.ours, self.theirs):
            side.mkdir()
            (side / "a.img").write_bytes(content(1 << 20) + bytes(600_000) + content(200_000, 1))
            (side / "b.img").write_bytes(content(700_000, 2))

    def run(self, *line: str, stdin: str | None = None) -> tuple[Run, Run]:
        ours = run_process(
            *line,
            command=(self._program,),
            folder=self.ours,
            stdin=None if stdin is None else self.ours / stdin,
        )
        theirs = run_process(
            *line,
            command=("casync",),
            folder=self.theirs,
            stdin=None if stdin is None else self.theirs / stdin,
        )
        return ours, theirs

    def file(self, name: str) -> tuple[bytes, bytes]:
        return (self.ours / name).read_bytes(), (self.theirs / name).read_bytes()


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    require_tool("casync")
    return Pair(tmp_path)


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--digest=sha256",),
        ("--chunk-size=4096",),
        ("--chunk-size=1K:4K:16K", "--compression=gzip"),
        ("--store", "other.castr"),
        ("--seed-output=no", "--reflink=off", "--rate-limit-bps=1000"),
    ],
)
def test_make_prints_and_writes_the_same(options: tuple[str, ...], pair: Pair) -> None:
    for line in ((*options, "make", "x.caibx", "a.img"), ("make", "x.caibx", "a.img", *options)):
        ours, theirs = pair.run(*line)
        assert (ours.status, ours.out) == (theirs.status, theirs.out) == (0, theirs.out)
        mine, other = pair.file("x.caibx")
        assert mine == other
    names = [
        {str(path.relative_to(side)) for path in side.rglob("*.cacnk")}
        for side in (pair.ours, pair.theirs)
    ]
    assert names[0] == names[1]


def test_the_mode_of_the_index_is_that_of_the_input_without_the_umask(pair: Pair) -> None:
    for mode in (0o644, 0o600, 0o755, 0o666):
        for side in (pair.ours, pair.theirs):
            (side / "a.img").chmod(mode)
            (side / "x.caibx").unlink(missing_ok=True)
        pair.run("make", "x.caibx", "a.img")
        modes = {(side / "x.caibx").stat().st_mode for side in (pair.ours, pair.theirs)}
        assert len(modes) == 1


@pytest.mark.parametrize(
    ("line", "stdin"),
    [
        ("make - a.img", None),
        ("make --what=blob-index -", "a.img"),
        ("make x.caibx", "a.img"),
        ("make x.caibx -", "a.img"),
        ("digest a.img", None),
        ("digest --digest=sha256 a.img", None),
        ("digest -", "a.img"),
        ("digest --what=blob", "a.img"),
    ],
)
def test_standard_output_is_the_same(line: str, stdin: str | None, pair: Pair) -> None:
    ours, theirs = pair.run(*line.split(), stdin=stdin)
    assert (ours.status, ours.out) == (theirs.status, theirs.out)
    assert ours.status == 0


def test_digest_of_an_index_is_the_same(pair: Pair) -> None:
    pair.run("make", "x.caibx", "a.img")
    ours, theirs = pair.run("digest", "x.caibx")
    assert ours.out == theirs.out
    assert ours.out != b""


def test_extract_says_nothing_and_brings_the_same(pair: Pair) -> None:
    pair.run("make", "x.caibx", "a.img")
    for line in (
        ("extract", "x.caibx", "back"),
        ("extract", "--seed=b.img", "--store=default.castr", "x.caibx", "seeded"),
        ("extract", "--seed", "a.img", "--seed-output=no", "x.caibx", "whole"),
    ):
        ours, theirs = pair.run(*line)
        assert (ours.status, ours.out) == (theirs.status, theirs.out) == (0, b"")
        mine, other = pair.file(line[-1])
        assert mine == other


def test_each_reads_what_the_other_wrote(pair: Pair) -> None:
    pair.run("make", "x.caibx", "a.img")
    for name in ("x.caibx", "default.castr"):
        (pair.ours / name).rename(pair.ours / "swap")
        (pair.theirs / name).rename(pair.ours / name)
        (pair.ours / "swap").rename(pair.theirs / name)
    ours, theirs = pair.run("extract", "x.caibx", "back")
    assert (ours.status, theirs.status) == (0, 0)
    mine, other = pair.file("back")
    assert mine == other == (pair.ours / "a.img").read_bytes()


@pytest.mark.parametrize("options", ["", "-n", "-v", "-nv", "--dry-run --verbose"])
def test_gc_prints_the_same_lines(options: str, pair: Pair) -> None:
    pair.run("make", "a.caibx", "a.img")
    pair.run("make", "b.caibx", "b.img")
    ours, theirs = pair.run("gc", *options.split(), "a.caibx")
    assert ours.status == theirs.status == 0
    # Chunks are found in the order of the folder, which is that of chance.
    assert sorted(ours.text.splitlines()) == sorted(theirs.text.splitlines())
    assert ours.text.splitlines()[:1] == theirs.text.splitlines()[:1]
    assert ours.text.splitlines()[-1:] == theirs.text.splitlines()[-1:]
    left = [len(list(side.rglob("*.cacnk"))) for side in (pair.ours, pair.theirs)]
    assert left[0] == left[1]


@pytest.mark.parametrize(
    "line",
    [
        "",
        "frobnicate",
        "--bogus",
        "extract nothing.caibx out",
        "extract a.img out",
        "extract --what=blob a.img out",
        "make out.img a.img",
        "make x.caibx nothing",
        "make --chunk-size=bad x.caibx a.img",
        "make --digest=md5 x.caibx a.img",
        "digest nothing",
        "gc",
        "gc nothing.caibx",
        "gc a.img",
        "extract --store=nowhere --seed-output=perhaps x.caibx out",
        "list a.img",
    ],
)
def test_what_fails_there_fails_here_with_the_same_status(line: str, pair: Pair) -> None:
    ours, theirs = pair.run(*line.split())
    assert (ours.status, ours.out) == (theirs.status, theirs.out) == (1, b"")
    assert ours.err != ""


def test_a_chunk_that_is_missing_is_a_failure_for_both(pair: Pair) -> None:
    pair.run("make", "x.caibx", "a.img")
    for side in (pair.ours, pair.theirs):
        shutil.rmtree(side / "default.castr")
    ours, theirs = pair.run("extract", "x.caibx", "out")
    assert (ours.status, theirs.status) == (1, 1)
    assert not (pair.ours / "out").exists()


def test_help_and_version_end_well(pair: Pair) -> None:
    for line in ("--help", "-h", "help", "--version"):
        ours, theirs = pair.run(line)
        assert (ours.status, theirs.status) == (0, 0)
    assert pair.run("--version")[0].text.startswith("casync 2 ")


def test_verbs_of_ours_are_unknown_under_casyncs_name(pair: Pair) -> None:
    assert pair.run("verify", "a.img")[0].status == 1


def test_the_environment_names_the_store_for_both(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CASYNC_STORE", "elsewhere.castr")
    pair.run("make", "x.caibx", "a.img")
    for side in (pair.ours, pair.theirs):
        assert (side / "elsewhere.castr").is_dir()
        assert not (side / "default.castr").exists()

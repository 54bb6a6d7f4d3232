# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from images.index import Index
from images.serve import serve
from tests.updater.conftest import Published
from tests.updater.running import Caflip, run_process


def test_standard_output_gets_the_image(published: Published) -> None:
    for output in ((), ("-",)):
        assert run_process("extract", published.index, *output).out == published.data


def test_the_index_may_come_from_standard_input(tmp_path: Path, published: Published) -> None:
    store = f"--store={published.store}"
    done = run_process("extract", store, "-", tmp_path / "out", stdin=published.index)
    assert done.status == 0, done.err
    assert run_process("extract", store, stdin=published.index).out == published.data


def test_an_index_of_another_name_needs_what(
    tmp_path: Path, published: Published, caflip: Caflip
) -> None:
    other = published.folder / "index"
    shutil.copy(published.index, other)
    refused = caflip("extract", other, tmp_path / "out")
    assert refused.status == 64
    assert "--what=blob-index" in refused.err
    assert caflip("extract", "--what=blob-index", other, tmp_path / "out").status == 0


def test_a_full_seed_needs_no_store(tmp_path: Path, published: Published, caflip: Caflip) -> None:
    shutil.rmtree(published.store)
    done = caflip("extract", published.index, tmp_path / "out", "--seed", published.image)
    assert done.status == 0
    assert (tmp_path / "out").read_bytes() == published.data
    assert "there is no such store" in done.err


def test_seeds_may_be_regions_and_have_indexes(
    tmp_path: Path, published: Published, caflip: Caflip
) -> None:
    shutil.rmtree(published.store)
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(12345) + published.data)
    for number, seed in enumerate(
        (f"{disk}@12345+{len(published.data)}", f"{published.index}:{published.image}")
    ):
        done = caflip(
            "extract", "-l", "err", published.index, tmp_path / f"{number}", "--seed", seed
        )
        assert (done.status, done.err) == (0, "")


def test_a_seed_that_is_not_there_is_told_of_and_no_error(
    tmp_path: Path, published: Published, caflip: Caflip
) -> None:
    line = ("extract", published.index, "--seed", tmp_path / "nothing")
    done = caflip(*line, tmp_path / "1")
    assert done.status == 0
    assert done.err == f"caflip: {tmp_path}/nothing: No such file or directory\n"
    events = caflip("--json", *line, tmp_path / "2").lines
    failed = [event for event in events if event["event"] == "source-failed"]
    assert [(event["source"], event["code"]) for event in failed] == [
        (f"{tmp_path}/nothing", "image.seed-unusable")
    ]


def test_a_region_of_a_disk_is_written_and_nothing_else(
    tmp_path: Path, published: Published, caflip: Caflip
) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(b"\xaa" * (4 << 20))
    done = caflip("extract", published.index, disk, "--offset=1M", "--length", "2560K")
    assert done.status == 0, done.err
    data = disk.read_bytes()
    end = (1 << 20) + len(published.data)
    assert data[1 << 20 : end] == published.data
    assert set(data[: 1 << 20] + data[end:]) == {0xAA}


def test_in_place_keeps_the_file_and_gives_it_the_images_length(
    tmp_path: Path, published: Published, caflip: Caflip
) -> None:
    target = tmp_path / "out"
    target.write_bytes(b"\xaa" * (4 << 20))
    inode = target.stat().st_ino
    assert caflip("extract", "--in-place", published.index, target).status == 0
    assert target.stat().st_ino == inode
    assert target.read_bytes() == published.data


@pytest.mark.parametrize("value", ["no", "0", "off"])
def test_zeros_become_holes_unless_told_otherwise(
    value: str, tmp_path: Path, published: Published, caflip: Caflip
) -> None:
    options = ("--reflink=no", "--seed-output=no")
    caflip("extract", published.index, tmp_path / "holes", *options)
    caflip("extract", published.index, tmp_path / "full", *options, f"--punch-holes={value}")
    assert (tmp_path / "holes").read_bytes() == (tmp_path / "full").read_bytes() == published.data
    assert (tmp_path / "holes").stat().st_blocks * 512 < len(published.data)


def test_a_dry_run_prints_where_everything_comes_from(
    tmp_path: Path, published: Published, caflip: Caflip
) -> None:
    target = tmp_path / "out"
    target.write_bytes(published.data[: 600 << 10] + bytes(100))
    done = caflip("extract", "-n", "--in-place", published.index, target)
    assert done.status == 0
    assert target.stat().st_size == (600 << 10) + 100
    lines = done.text.splitlines()
    assert lines[0].split() == ["source", "chunks", "bytes", "size", "share"]
    rows = {line[:23].strip(): line[23:].split() for line in lines[1:] if line[:1].isalpha()}
    names = ["in place already", "zeros", "copies within the image", "seeds", "cache", "stores"]
    counted = [rows[name] for name in names if rows[name][0] != "-"]
    counted += [row for row in [rows["moved within the target"]] if row[0] != "-"]
    assert sum(int(row[1].replace(",", "")) for row in counted) == len(published.data)
    assert sum(int(row[0]) for row in counted) == len(Index.load(published.index))
    assert rows["image"][1] == f"{len(published.data):,}"
    assert "to write: " in done.text
    assert "compressed, 0 requests" in done.text


def test_what_was_planned_is_what_is_done(
    tmp_path: Path, published: Published, caflip: Caflip
) -> None:
    target = tmp_path / "out"
    target.write_bytes(published.data[300 << 10 : 900 << 10] + published.data[900 << 10 :])
    line = ("extract", "--json", "--in-place", published.index, target)
    planned = caflip("--dry-run", *line).last
    done = caflip(*line).last
    assert planned["sources"] == done["sources"]
    assert planned["bytes_to_write"] >= done["bytes_written"]
    assert planned["download_bytes"] == done["transferred_bytes"]
    assert target.read_bytes() == published.data


def test_a_web_server_delivers_index_and_chunks(
    tmp_path: Path, published: Published, caflip: Caflip
) -> None:
    with serve(published.folder) as server:
        url = f"{server.url}/image.caibx"
        unknown = caflip("extract", "-n", "--json", url, tmp_path / "out").last
        assert unknown["download_bytes"] is None
        assert unknown["requests"] > 0
        text = caflip("extract", "-n", url, tmp_path / "out").text
        assert "--ask-stores tells the compressed size" in text
        exact = caflip("extract", "-n", "--json", "--ask-stores", url, tmp_path / "out").last
        done = caflip("extract", "--json", url, tmp_path / "out").last
    assert exact["download_bytes"] == done["transferred_bytes"]
    assert (tmp_path / "out").read_bytes() == published.data


def test_a_cache_makes_the_second_run_independent_of_the_network(
    tmp_path: Path, published: Published, caflip: Caflip
) -> None:
    cache = f"--cache={tmp_path}/cache"
    local = tmp_path / "image.caibx"
    shutil.copy(published.index, local)
    with serve(published.folder) as server:
        url = f"{server.url}/image.caibx"
        assert caflip("extract", cache, url, tmp_path / "first").status == 0
    line = ("extract", "--json", cache, "--store=http://127.0.0.1:9/x", local, tmp_path / "second")
    done = caflip(*line)
    assert done.status == 0, done.err
    assert set(done.last["sources"]) == {"target", "zero", "cache"}


def test_verbose_prints_casyncs_statistics(
    tmp_path: Path, published: Published, caflip: Caflip
) -> None:
    seed = tmp_path / "seed"
    seed.write_bytes(published.data[: 1 << 20])
    done = caflip("extract", "-v", published.index, tmp_path / "out", "--seed", seed)
    names = [line.split(":")[0] for line in done.err.splitlines()]
    assert names[:8] == [
        "Zero bytes written as sparse files",
        "Bytes cloned through reflinks",
        "Chunk requests fulfilled from local store",
        "Bytes used from local store",
        "Chunk requests fulfilled from local seed",
        "Bytes used from local seed",
        "Chunk requests fulfilled from remote store",
        "Bytes used from remote store",
    ]
    assert "Total extract time" in names
    assert done.out == b""


def test_json_is_the_stream_of_events_and_then_the_result(
    tmp_path: Path, published: Published, caflip: Caflip
) -> None:
    lines = caflip("extract", "--json", published.index, tmp_path / "out").lines
    phases = [line["phase"] for line in lines if line["event"] == "progress"]
    assert phases[-1] == "verify"
    assert "assemble" in phases
    assert [line["event"] for line in lines].count("result") == 1
    result = lines[-1]
    assert result["target"] == str(tmp_path / "out")
    assert result["image_bytes"] == len(published.data)
    assert sum(share["bytes"] for share in result["sources"].values()) == len(published.data)


def test_an_extra_store_has_what_the_first_lacks(
    tmp_path: Path, published: Published, caflip: Caflip
) -> None:
    chunks = sorted(published.store.rglob("*.cacnk"))
    other = tmp_path / "other.castr"
    for chunk in chunks[::2]:
        moved = other / chunk.parent.name / chunk.name
        moved.parent.mkdir(parents=True)
        os.rename(chunk, moved)
    assert caflip("extract", published.index, tmp_path / "out").status == 69
    line = ("extract", published.index, tmp_path / "out", "--extra-store", other)
    assert caflip(*line).status == 0

# SPDX-License-Identifier: Apache-2.0
"""The verbs that look at indexes and stores: info, stat, digest, list-chunks, probe, cache, ..."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

import pytest

from images.index import Index
from images.serve import serve
from tests.capabilities import require_tool
from tests.updater.conftest import Published
from tests.updater.running import Caflip, content, run_process
from tests.updater.slow_site import slow_site

IMAGE_SHA512_256 = hashlib.new(
    "sha512_256", content(1 << 20) + bytes(1 << 20) + content(300_000, seed=1)
).hexdigest()


def distinct(index: Index) -> set[str]:
    return {chunk_id.hex() for _, _, chunk_id in index.chunks()}


def test_info_without_a_target_plans_for_an_empty_one(published: Published, caflip: Caflip) -> None:
    result = caflip("info", "--json", published.index).last
    assert result["target"] is None
    assert result["bytes_to_write"] == len(published.data) == result["image_bytes"]
    assert set(result["sources"]) == {"zero", "store"}
    assert "to write: 2,397,152 bytes (2.2M)" in caflip("info", published.index).text


def test_info_with_a_target_counts_what_is_there(published: Published, caflip: Caflip) -> None:
    result = caflip("info", "--json", published.index, published.image).last
    assert result["bytes_to_write"] == 0
    assert set(result["sources"]) == {"target"}


def test_info_with_a_seed_needs_no_download(published: Published, caflip: Caflip) -> None:
    result = caflip("info", "--json", published.index, f"--seed={published.image}").last
    assert (result["download_bytes"], result["requests"]) == (0, 0)


def test_info_asks_a_web_server_only_if_told_to(published: Published, caflip: Caflip) -> None:
    length = sum(file.stat().st_size for file in published.store.rglob("*.cacnk"))
    zeros = caflip("info", "--json", published.index).last["download_bytes"]
    with serve(published.folder) as server:
        line = ("info", "--json", f"{server.url}/image.caibx")
        assert caflip(*line).last["download_bytes"] is None
        exact = caflip("--ask-stores", *line).last
    assert exact["download_bytes"] == zeros
    assert exact["download_bytes"] < length
    with slow_site(published.folder, 0) as site:
        caflip("info", f"{site.url}/image.caibx")
        assert site.asked == ["/image.caibx"]


def test_stat_tells_the_facts_of_an_index(published: Published, caflip: Caflip) -> None:
    index = Index.load(published.index)
    result = caflip("stat", "--json", published.index).last
    assert result["image_bytes"] == len(published.data)
    assert (result["chunks"], result["distinct_chunks"]) == (len(index), len(distinct(index)))
    assert result["distinct_bytes"] < result["image_bytes"]
    assert (result["minimum_size"], result["average_size"], result["maximum_size"]) == (
        *(16384, 65536, 262144),
    )
    assert result["digest"] == "sha512-256"
    lines = caflip("stat", published.index).text.splitlines()
    assert f"     Chunks: {len(index)}" in lines
    assert "Chunk sizes: 16384:65536:262144 (minimum:average:maximum)" in lines


def test_digest_is_the_same_for_file_index_pipe_and_casyncs_way(
    published: Published, caflip: Caflip
) -> None:
    for argument in (published.image, published.index):
        assert caflip("digest", argument).text == IMAGE_SHA512_256 + "\n"
    for line in (("digest", "-"), ("digest", "--what=blob")):
        assert run_process(*line, stdin=published.image).text == IMAGE_SHA512_256 + "\n"
    sha256 = hashlib.sha256(published.data).hexdigest() + "\n"
    assert caflip("digest", "--digest=sha256", published.image).text == sha256


@pytest.mark.parametrize("length", [0, 1, (2 << 20) - 1, 2 << 20, (2 << 20) + 1, 5_000_000])
def test_digest_is_right_at_every_length(length: int, tmp_path: Path, caflip: Caflip) -> None:
    data = content(length)
    (tmp_path / "file").write_bytes(data)
    result = caflip("digest", "--json", tmp_path / "file").last
    assert result["digest"] == hashlib.new("sha512_256", data).hexdigest()
    assert result["length"] == length


def test_list_chunks_prints_id_offset_and_length(published: Published, caflip: Caflip) -> None:
    index = Index.load(published.index)
    expected = [f"{chunk.hex()} {start} {end - start}" for start, end, chunk in index.chunks()]
    assert caflip("list-chunks", published.index).text.splitlines() == expected
    lines = caflip("list-chunks", "--json", published.index).lines
    assert [f"{line['id']} {line['offset']} {line['length']}" for line in lines[:-1]] == expected
    assert lines[-1]["chunks"] == len(index)


def test_probe_names_the_file_system_and_its_length(tmp_path: Path, caflip: Caflip) -> None:
    require_tool("mkfs.ext4")
    image = tmp_path / "image"
    image.write_bytes(bytes(9 << 20))
    subprocess.run(["/usr/sbin/mkfs.ext4", "-q", "-L", "rootfs", image, "8M"], check=True)
    lines = caflip("probe", image).text.splitlines()
    assert "kind:       ext4" in lines
    assert "length:     8388608 bytes (8.0M)" in lines
    assert "label:      rootfs" in lines
    superblock = caflip("probe", "--json", image).last["superblock"]
    assert (superblock["kind"], superblock["length"]) == ("ext4", 8 << 20)


def test_probe_of_anything_else_finds_nothing(published: Published, caflip: Caflip) -> None:
    assert caflip("probe", published.index).text == (
        f"{published.index}: no superblock that is known\n"
    )
    assert caflip("probe", "--json", published.index).last["superblock"] is None
    assert caflip("probe", published.folder / "nothing").status == 78


def test_cache_copies_what_is_missing(tmp_path: Path, published: Published, caflip: Caflip) -> None:
    cache = tmp_path / "cache"
    wanted = distinct(Index.load(published.index))
    first = caflip("cache", "--json", f"--cache={cache}", published.index).last
    assert (first["chunks"], first["present"]) == (len(wanted), 0)
    assert {file.stem for file in cache.rglob("*.cacnk")} == wanted
    next(cache.rglob("*.cacnk")).unlink()
    second = caflip("cache", "--json", f"--cache={cache}", published.index).last
    assert (second["chunks"], second["present"]) == (1, len(wanted) - 1)
    shutil.rmtree(published.store)
    line = ("extract", published.index, tmp_path / "out", f"--store={cache}")
    assert caflip(*line).status == 0


def test_cache_keeps_what_came_when_something_is_missing(
    tmp_path: Path, published: Published, caflip: Caflip
) -> None:
    next(published.store.rglob("*.cacnk")).unlink()
    done = caflip("cache", f"--cache={tmp_path}/cache", published.index)
    assert done.status == 69
    kept = len(list((tmp_path / "cache").rglob("*.cacnk")))
    assert kept == len(distinct(Index.load(published.index))) - 1


def test_cache_reads_indexes_from_the_web(
    tmp_path: Path, published: Published, caflip: Caflip
) -> None:
    with serve(published.folder) as server:
        url = f"{server.url}/image.caibx"
        assert caflip("cache", f"--cache={tmp_path}/cache", url).status == 0


def test_chop_fills_a_store_from_an_index(
    tmp_path: Path, published: Published, caflip: Caflip
) -> None:
    store = tmp_path / "new.castr"
    result = caflip("chop", "--json", published.index, published.image, f"--store={store}").last
    assert result["new_chunks"] == len(distinct(Index.load(published.index)))
    line = ("extract", published.index, tmp_path / "out", f"--store={store}")
    assert caflip(*line).status == 0


def test_chop_stores_nothing_wrong(tmp_path: Path, published: Published, caflip: Caflip) -> None:
    data = bytearray(published.data)
    data[100] ^= 1
    data[-1] ^= 1
    published.image.write_bytes(data)
    store = tmp_path / "new.castr"
    done = caflip("chop", published.index, published.image, f"--store={store}")
    assert done.status == 65
    assert "2 chunks" in done.err
    assert "the first at 0" in done.err
    assert caflip("verify", store).status == 0


def test_chop_of_a_short_image(tmp_path: Path, published: Published, caflip: Caflip) -> None:
    published.image.write_bytes(published.data[:100])
    done = caflip("chop", published.index, published.image, f"--store={tmp_path}/new.castr")
    assert done.status == 65

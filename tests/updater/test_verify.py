# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from images.index import Index
from tests.updater.conftest import Published
from tests.updater.running import Caflip


def damage(path: Path, *places: int) -> None:
    with path.open("r+b") as file:
        for place in places:
            file.seek(place)
            file.write(b"scratch")


def test_an_image_that_is_right(published: Published, caflip: Caflip) -> None:
    done = caflip("verify", published.index, published.image)
    assert done.status == 0
    assert done.text == f"{published.image}: all 25 chunks are right (2.2M)\n"


def test_wrong_chunks_are_counted_and_shown(published: Published, caflip: Caflip) -> None:
    index = Index.load(published.index)
    damage(published.image, index.start(2), index.start(3), index.start(len(index) - 1))
    done = caflip("verify", published.index, published.image)
    assert done.status == 65
    lengths = index.length(2) + index.length(3) + index.length(len(index) - 1)
    lines = done.text.splitlines()
    assert lines[0].startswith(f"{published.image}: 3 of 25 chunks wrong, ")
    assert lines[1:] == [
        f"  bytes {index.start(2)} to {index.end(3)}",
        f"  bytes {index.start(len(index) - 1)} to {index.blob_length}",
    ]
    verified, error = caflip("verify", "--json", published.index, published.image).lines[-2:]
    assert (verified["event"], verified["wrong_chunks"]) == ("verified", 3)
    assert verified["wrong_bytes"] == lengths
    assert error["code"] == "image.verify-failed"


def test_a_file_that_is_too_long_or_too_short_is_not_the_image(
    published: Published, caflip: Caflip
) -> None:
    published.image.write_bytes(published.data + b"more")
    done = caflip("verify", published.index, published.image)
    assert done.status == 65
    assert done.text == f"{published.image}: 4 bytes behind the image\n"
    published.image.write_bytes(published.data[:-1])
    assert caflip("verify", published.index, published.image).status == 65


def test_a_region_may_be_followed_by_anything(
    tmp_path: Path, published: Published, caflip: Caflip
) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(4096) + published.data + b"more")
    assert caflip("verify", published.index, disk, "--offset=4K").status == 0
    assert caflip("verify", published.index, disk).status == 65
    too_small = caflip("verify", published.index, disk, "--offset=4K", "--length=1M")
    assert too_small.status == 78


def test_repair_brings_what_is_wrong_from_the_store(published: Published, caflip: Caflip) -> None:
    published.image.write_bytes(published.data + b"more")
    damage(published.image, 100, 1_000_000)
    done = caflip("verify", "--repair", published.index, published.image)
    assert done.status == 0, done.err
    assert done.text.endswith("repaired, and read back\n")
    assert published.image.read_bytes() == published.data


def test_repair_brings_what_is_wrong_from_a_seed(
    tmp_path: Path, published: Published, caflip: Caflip
) -> None:
    seed = tmp_path / "seed"
    shutil.copy(published.image, seed)
    shutil.rmtree(published.store)
    damage(published.image, 100)
    line = ("verify", "--repair", published.index, published.image, "--seed", seed, "--json")
    done = caflip(*line)
    assert (done.status, done.last["repaired"]) == (0, True)
    assert published.image.read_bytes() == published.data


def test_only_a_repair_asks_for_the_store(published: Published, caflip: Caflip) -> None:
    shutil.rmtree(published.store)
    assert caflip("verify", published.index, published.image).err == ""
    assert "no such store" in caflip("verify", "--repair", published.index, published.image).err


def test_repair_without_a_source_fails(published: Published, caflip: Caflip) -> None:
    shutil.rmtree(published.store)
    damage(published.image, 100)
    assert caflip("verify", "--repair", published.index, published.image).status == 69


def a_chunk(published: Published) -> Path:
    return max(published.store.rglob("*.cacnk"), key=lambda path: path.stat().st_size)


def test_a_store_that_is_right(published: Published, caflip: Caflip) -> None:
    files = len(list(published.store.rglob("*.cacnk")))
    done = caflip("verify", published.store)
    assert done.status == 0
    assert done.text.startswith(f"{published.store}: all {files} chunk files are right (")


def test_a_bad_chunk_file_is_found_and_left_alone(published: Published, caflip: Caflip) -> None:
    chunk = a_chunk(published)
    damage(chunk, 20)
    done = caflip("verify", published.store)
    assert done.status == 65
    assert str(chunk) in done.text
    assert chunk.exists()
    found = caflip("verify", "--json", published.store).lines[-2]
    assert [bad["path"] for bad in found["bad"]] == [str(chunk)]
    assert found["bad"][0]["id"] == chunk.stem


def test_repair_removes_a_bad_chunk_file(published: Published, caflip: Caflip) -> None:
    chunk = a_chunk(published)
    damage(chunk, 20)
    done = caflip("verify", "--repair", published.store)
    assert done.status == 0
    assert done.text.endswith("0 fetched again, 1 removed\n")
    assert not chunk.exists()


def test_repair_fetches_a_bad_chunk_again(
    tmp_path: Path, published: Published, caflip: Caflip
) -> None:
    good = tmp_path / "good.castr"
    shutil.copytree(published.store, good)
    chunk = a_chunk(published)
    damage(chunk, 20)
    line = ("verify", "--repair", published.store, published.index, "--store", good)
    done = caflip(*line)
    assert done.status == 0
    assert done.text.endswith("1 fetched again, 0 removed\n")
    assert caflip("verify", published.store).status == 0


@pytest.mark.parametrize("name", ["nothing", "no/thing"])
def test_a_target_that_is_not_there(
    name: str, tmp_path: Path, published: Published, caflip: Caflip
) -> None:
    assert caflip("verify", published.index, tmp_path / name).status == 78

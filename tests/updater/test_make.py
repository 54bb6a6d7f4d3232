# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from images.errors import NoSpace
from images.index import Index
from images.stores.writing import StoreWriter
from tests.updater.conftest import Published
from tests.updater.running import COMMAND, Caflip, run_process

# docs/formats.md, test vector of the blob: index and digest that Debian's casync makes of it.
VECTOR = b"".join(hashlib.sha256(n.to_bytes(8, "little")).digest() for n in range(31250))
VECTOR_DIGEST = "3ac491f34e8e71f15abad55c4d650a7abcb7cbbd4f91ff29b405fe2140ef70d4"
VECTOR_INDEX = "1dc0e85627db907b08bcb7cd1803d8ca4072de62e32ef5ffd0210d7dfdb40aae"


@pytest.fixture
def vector(tmp_path: Path) -> Path:
    path = tmp_path / "vector"
    path.write_bytes(VECTOR)
    return path


def test_the_vector_gives_casyncs_digest_and_index(
    tmp_path: Path, vector: Path, caflip: Caflip
) -> None:
    made = caflip("make", tmp_path / "v.caibx", vector)
    assert (made.status, made.text, made.err) == (0, VECTOR_DIGEST + "\n", "")
    assert hashlib.sha256((tmp_path / "v.caibx").read_bytes()).hexdigest() == VECTOR_INDEX
    assert (tmp_path / "default.castr").is_dir()


def test_an_index_goes_to_standard_output_in_front_of_the_digest(
    tmp_path: Path, vector: Path, caflip: Caflip
) -> None:
    made = caflip("make", f"--store={tmp_path}/castr", "-", vector)
    index, digest = made.out[:-65], made.out[-65:]
    assert hashlib.sha256(index).hexdigest() == VECTOR_INDEX
    assert digest.decode() == VECTOR_DIGEST + "\n"


def test_the_input_may_be_standard_input(tmp_path: Path, vector: Path) -> None:
    made = run_process("make", tmp_path / "v.caibx", stdin=vector)
    assert made.text == VECTOR_DIGEST + "\n"


def test_the_input_may_be_a_pipe(tmp_path: Path, vector: Path) -> None:
    shell = f"cat {vector} | {' '.join(COMMAND)} make {tmp_path}/v.caibx"
    assert run_process(command=("sh", "-c", shell)).text == VECTOR_DIGEST + "\n"


def test_chunk_size_digest_and_compression_are_casyncs(
    tmp_path: Path, vector: Path, caflip: Caflip
) -> None:
    made = caflip(
        *("make", "--chunk-size=1K:4K:16K", "--digest", "sha256", "--compression=xz"),
        *(tmp_path / "v.caibx", vector),
    )
    index = (tmp_path / "v.caibx").read_bytes()
    assert made.text == hashlib.sha256(VECTOR).hexdigest() + "\n"
    assert hashlib.sha256(index).hexdigest() == (
        "f48824c457987d1134cafb822fb1ec5ad2ae69589e19d67a125859ccbd574744"
    )
    chunk = next((tmp_path / "default.castr").rglob("*.cacnk"))
    assert chunk.read_bytes().startswith(b"\xfd7zXZ")


def test_a_region_is_cut_as_if_it_were_alone(tmp_path: Path, vector: Path, caflip: Caflip) -> None:
    disk = tmp_path / "disk"
    disk.write_bytes(bytes(5000) + VECTOR + bytes(7000))
    region = ("--offset=5000", f"--length={len(VECTOR)}")
    assert caflip("make", tmp_path / "v.caibx", disk, *region).text == VECTOR_DIGEST + "\n"


def test_a_dry_run_writes_nothing(tmp_path: Path, vector: Path, caflip: Caflip) -> None:
    made = caflip("make", "-n", tmp_path / "v.caibx", vector)
    assert made.text == VECTOR_DIGEST + "\n"
    assert os.listdir(tmp_path) == ["vector"]


def test_the_store_comes_from_the_option_the_environment_or_the_index(
    tmp_path: Path, vector: Path, caflip: Caflip, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CASYNC_STORE", str(tmp_path / "environment"))
    assert caflip("make", tmp_path / "v.caibx", vector).status == 0
    assert caflip("make", tmp_path / "v.caibx", vector, "--store", tmp_path / "option").status == 0
    assert (tmp_path / "environment").is_dir()
    assert (tmp_path / "option").is_dir()
    assert not (tmp_path / "default.castr").exists()


def test_a_remote_store_is_refused_for_writing(
    tmp_path: Path, vector: Path, caflip: Caflip
) -> None:
    made = caflip("make", tmp_path / "v.caibx", vector, "--store=http://host/castr")
    assert made.status == 78
    assert "not a local path" in made.err


def test_json_has_the_digest_and_what_is_new(tmp_path: Path, vector: Path, caflip: Caflip) -> None:
    first = caflip("make", "--json", tmp_path / "v.caibx", vector).last
    assert first["event"] == "result"
    assert first["verb"] == "make"
    assert first["digest"] == VECTOR_DIGEST
    assert first["algorithm"] == "sha512-256"
    assert (first["length"], first["chunks"], first["new_chunks"]) == (1_000_000, 16, 16)
    second = caflip("make", "--json", tmp_path / "v.caibx", vector).last
    assert (second["new_chunks"], second["new_stored_bytes"]) == (0, 0)


def test_verbose_ends_with_casyncs_statistics(tmp_path: Path, vector: Path, caflip: Caflip) -> None:
    made = caflip("make", "-v", tmp_path / "v.caibx", vector)
    for line in (
        "Archive size: 976.5K",
        "Number of chunks: 16",
        "Reused (non-cached) chunks: 0 (0%)",
        "Effective average chunk size: 61.0K",
    ):
        assert line in made.err.splitlines()


def test_a_missing_input_leaves_nothing_behind(tmp_path: Path, caflip: Caflip) -> None:
    made = caflip("make", tmp_path / "v.caibx", tmp_path / "nothing")
    assert made.status == 78
    assert os.listdir(tmp_path) == []


def test_there_is_no_index_before_all_chunks_are_durable(
    tmp_path: Path, vector: Path, caflip: Caflip, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(writer: StoreWriter) -> None:
        raise NoSpace("full")

    monkeypatch.setattr(StoreWriter, "commit", fail)
    assert caflip("make", tmp_path / "v.caibx", vector).status == 78
    assert not (tmp_path / "v.caibx").exists()


def test_options_may_stand_before_or_after_the_verb(
    tmp_path: Path, vector: Path, caflip: Caflip
) -> None:
    store = f"{tmp_path}/castr"
    for line in (
        ("--store", store, "make", f"{tmp_path}/1.caibx", str(vector)),
        ("make", f"{tmp_path}/2.caibx", "--store", store, str(vector)),
        ("-v", "make", f"{tmp_path}/3.caibx", str(vector), f"--store={store}"),
    ):
        assert caflip(*line).text == VECTOR_DIGEST + "\n"


def test_an_empty_image_has_an_empty_index(tmp_path: Path, caflip: Caflip) -> None:
    (tmp_path / "empty").touch()
    made = caflip("make", tmp_path / "e.caibx", tmp_path / "empty")
    assert made.text == "c672b8d1ef56ed28ab87c3622c5114069bdd3ad7b8f9737498d0c01ecef0967a\n"
    assert len(Index.load(tmp_path / "e.caibx")) == 0
    assert caflip("extract", tmp_path / "e.caibx", tmp_path / "back").status == 0
    assert (tmp_path / "back").read_bytes() == b""


def test_a_published_image_comes_back(tmp_path: Path, published: Published, caflip: Caflip) -> None:
    assert caflip("extract", published.index, tmp_path / "back").status == 0
    assert (tmp_path / "back").read_bytes() == published.data

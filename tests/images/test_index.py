# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
import os
import struct
import subprocess
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from images.digests import ChunkId, Digest
from images.errors import IndexInvalid, NotAccessible
from images.ids import IdTable
from images.index import HEADER, Index, IndexBuilder
from images.sizes import ChunkSizes
from tests.capabilities import require_tool
from tests.images.vectors import VECTOR_ENDS, VECTOR_INDEX_SHA256, vector_blob

SIZES = ChunkSizes.of()


def _index(lengths: list[int], digest: Digest = Digest.SHA512_256) -> Index:
    builder = IndexBuilder(SIZES, digest)
    end = 0
    for number, length in enumerate(lengths):
        end += length
        builder.append(end, ChunkId(hashlib.sha256(b"%d" % number).digest()))
    return builder.finish()


@pytest.mark.interop
@pytest.mark.parametrize("digest", ["sha512-256", "sha256"])
def test_what_casync_wrote_is_read_and_written_back_to_the_byte(
    tmp_path: Path, digest: str
) -> None:
    require_tool("casync")
    blob = tmp_path / "blob"
    blob.write_bytes(vector_blob())
    made = tmp_path / "blob.caibx"
    subprocess.run(
        ["casync", "make", f"--digest={digest}", f"--store={tmp_path}/s", made, blob],
        check=True,
        capture_output=True,
    )
    index = Index.load(made)
    assert index.to_bytes() == made.read_bytes()
    assert [end for _, end, _ in index.chunks()] == VECTOR_ENDS
    assert index.digest is Digest(digest)
    assert index.id(0) == Digest(digest).of(vector_blob()[: VECTOR_ENDS[0]])
    if digest == "sha512-256":
        assert hashlib.sha256(index.to_bytes()).hexdigest() == VECTOR_INDEX_SHA256


def test_an_empty_blob_has_an_index_of_104_bytes() -> None:
    index = _index([])
    assert len(index.to_bytes()) == 104
    assert len(Index.parse(index.to_bytes())) == 0
    assert index.blob_length == 0


def test_header_flags_are_those_of_casync() -> None:
    assert _index([1]).flags == 0xB000000000000000
    assert _index([1], Digest.SHA256).flags == 0x9000000000000000


@pytest.mark.parametrize("flags", [0xA000000000000000, 0xB0000001FFEFFE26, 0x9000000000000000])
def test_flags_of_older_tools_and_of_trees_are_accepted_and_kept(flags: int) -> None:
    data = bytearray(_index([1]).to_bytes())
    data[16:24] = struct.pack("<Q", flags)
    assert Index.parse(data).to_bytes() == data


def test_views_of_chunks() -> None:
    index = _index([5, 7, 1])
    assert list(index.chunks()) == [
        (0, 5, index.id(0)),
        (5, 12, index.id(1)),
        (12, 13, index.id(2)),
    ]
    assert list(index.chunks(1, 2)) == [(5, 12, index.id(1))]
    assert (index.start(2), index.end(2), index.length(1)) == (12, 13, 7)
    assert [index.find(offset) for offset in (0, 4, 5, 11, 12, 13, 99)] == [0, 0, 1, 1, 2, 3, 3]


def _mutated(offset: int, value: int, width: int = 8) -> bytes:
    data = bytearray(_index([5, 7]).to_bytes())
    data[offset : offset + width] = value.to_bytes(width, "little")
    return bytes(data)


TAIL = HEADER.size + 80

BROKEN = {
    "header size": _mutated(0, 49),
    "INDEX magic": _mutated(8, 1),
    "unknown flag": _mutated(16, 0xB000000200000000),
    "all flags": _mutated(16, (1 << 64) - 1),
    "flags not normal: 16 bit beside 32 bit": _mutated(16, 0xB000000000000003),
    "flags not normal: sec beside nsec": _mutated(16, 0xB000000000000028),
    "flags not normal: permissions beside acl": _mutated(16, 0xB000000020000102),
    "flags not normal: subvolume-ro alone": _mutated(16, 0xB000000008000000),
    "flags not normal: nodump beside exclusion": _mutated(16, 0xB000000000100000),
    "flags not normal: acl without names": _mutated(16, 0xB000000020000000),
    "minimum 0": _mutated(24, 0),
    "minimum above average": _mutated(24, 65537),
    "average above maximum": _mutated(32, 262145),
    "maximum above 128 MiB": _mutated(40, (128 << 20) + 1),
    "TABLE size": _mutated(48, 1),
    "TABLE magic": _mutated(56, 1),
    "first end 0": _mutated(64, 0),
    "end not ascending": _mutated(104, 5),
    "end descending": _mutated(104, 4),
    "chunk above maximum": _mutated(104, 5 + 262145),
    "end wraps": _mutated(104, (1 << 64) - 1),
    "tail zero": _mutated(TAIL, 1),
    "tail second zero": _mutated(TAIL + 8, 1),
    "tail offset": _mutated(TAIL + 16, 47),
    "tail size": _mutated(TAIL + 24, 1),
    "tail marker": _mutated(TAIL + 32, 1),
    "byte after the tail": _index([5, 7]).to_bytes() + b"\0",
    "chunk missing": _index([5, 7]).to_bytes()[:104] + _index([5, 7]).to_bytes()[144:],
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
def test_a_broken_index_is_refused(data: bytes) -> None:
    with pytest.raises(IndexInvalid):
        Index.parse(data)


@pytest.mark.interop
@pytest.mark.parametrize("name", BROKEN)
def test_casync_refuses_it_too(tmp_path: Path, name: str) -> None:
    require_tool("casync")
    path = tmp_path / "x.caibx"
    path.write_bytes(BROKEN[name])
    (tmp_path / "default.castr").mkdir()
    result = subprocess.run(
        ["casync", "extract", path, tmp_path / "out"], capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 1


def test_an_index_cut_at_any_byte_is_refused() -> None:
    data = _index([5, 7]).to_bytes()
    for length in range(len(data)):
        with pytest.raises(IndexInvalid):
            Index.parse(data[:length])


@given(st.binary(max_size=300))
def test_random_bytes_are_no_index(data: bytes) -> None:
    with pytest.raises(IndexInvalid):
        Index.parse(data)


@given(st.lists(st.integers(1, 262144), max_size=40), st.data())
def test_a_flipped_bit_is_refused_or_read_as_it_stands(
    lengths: list[int], data: st.DataObject
) -> None:
    raw = bytearray(_index(lengths).to_bytes())
    bit = data.draw(st.integers(0, len(raw) * 8 - 1))
    raw[bit // 8] ^= 1 << bit % 8
    try:
        index = Index.parse(raw)
    except IndexInvalid:
        return
    assert index.to_bytes() == raw
    assert all(0 < end - start <= 262144 for start, end, _ in index.chunks())


def test_save_leaves_no_temporary_file_and_the_asked_mode(tmp_path: Path) -> None:
    old_mask = os.umask(0o077)
    try:
        _index([5]).save(tmp_path / "x.caibx", 0o644)
    finally:
        os.umask(old_mask)
    assert [p.name for p in tmp_path.iterdir()] == ["x.caibx"]
    assert (tmp_path / "x.caibx").stat().st_mode & 0o777 == 0o644
    assert Index.load(tmp_path / "x.caibx").blob_length == 5


def test_a_missing_index_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotAccessible, match=r"x\.caibx: No such file"):
        Index.load(tmp_path / "x.caibx")


def test_a_chunk_longer_than_the_maximum_cannot_be_built() -> None:
    with pytest.raises(IndexInvalid, match="chunk 0 ends at 262145"):
        _index([262145])


def test_the_table_finds_the_first_of_equal_ids_and_nothing_else() -> None:
    builder = IndexBuilder(SIZES, Digest.SHA256)
    ids = [ChunkId(hashlib.sha256(b"%d" % (n % 700)).digest()) for n in range(1000)]
    for number, chunk_id in enumerate(ids):
        builder.append(number + 1, chunk_id)
    table = IdTable(builder.finish())
    assert table.distinct == 700
    assert [table.find(chunk_id) for chunk_id in ids] == [n % 700 for n in range(1000)]
    assert table.find(ChunkId(bytes(32))) == -1


def test_the_table_of_an_empty_index_finds_nothing() -> None:
    assert IdTable(_index([])).find(ChunkId(bytes(32))) == -1


def test_reading_an_index_takes_memory_for_what_it_is_not_for_what_it_might_be(
    tmp_path: Path,
) -> None:
    index = _index([1000])
    index.save(tmp_path / "index")
    tracemalloc.start()
    try:
        assert Index.load(tmp_path / "index").items == index.items
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()

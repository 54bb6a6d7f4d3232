# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from images import chunkfile
from images.compression import Compression
from images.digests import ChunkId, Digest
from images.errors import ChunkInvalid, SettingInvalid
from images.index import Index
from tests.capabilities import require_tool
from tests.images.casync_make import blob, make

DATA = blob("chunk", 5000)
ID = Digest.SHA512_256.of(DATA)


def decode(body: bytes, compressed: bool = True) -> bytes:
    return chunkfile.decode(body, len(DATA), ID, Digest.SHA512_256, compressed)


@pytest.mark.interop
@pytest.mark.parametrize("compression", list(Compression))
@pytest.mark.parametrize("digest", list(Digest))
def test_chunks_that_casync_stored_are_decoded(
    compression: Compression, digest: Digest, tmp_path: Path
) -> None:
    require_tool("casync")
    data = blob("image", 600_000)
    options = (f"--compression={compression.value}", f"--digest={digest.value}")
    path, store = make(tmp_path, data, *options)
    index = Index.load(path)
    assert index.digest is digest
    assert len(index) > 3
    found = bytearray()
    for start, end, chunk_id in index.chunks():
        body = (store / chunkfile.relative_path(chunk_id, ".cacnk")).read_bytes()
        assert chunkfile.detect(body) is compression
        found += chunkfile.decode(body, end - start, chunk_id, digest)
    assert found == data


@pytest.mark.interop
@pytest.mark.parametrize("compression", [Compression.XZ, Compression.GZIP])
def test_xz_and_gzip_bodies_are_those_of_casync_byte_for_byte(
    compression: Compression, tmp_path: Path
) -> None:
    require_tool("casync")
    data = blob("one chunk", 10_000)
    path, store = make(tmp_path, data, f"--compression={compression.value}")
    body = (store / chunkfile.relative_path(Index.load(path).id(0), ".cacnk")).read_bytes()
    assert chunkfile.encode(data, compression) == body


@given(
    data=st.binary(min_size=1, max_size=3000),
    compression=st.sampled_from(Compression),
    digest=st.sampled_from(Digest),
)
@settings(max_examples=60, deadline=None)
def test_a_chunk_comes_back(data: bytes, compression: Compression, digest: Digest) -> None:
    body = chunkfile.encode(data, compression)
    assert len(body) <= chunkfile.longest_body(len(data))
    assert chunkfile.decode(body, len(data), digest.of(data), digest) == data
    assert chunkfile.decode(data, len(data), digest.of(data), digest, compressed=False) == data


@pytest.mark.parametrize("compression", list(Compression))
def test_a_wrong_body_is_refused_and_the_message_says_why(compression: Compression) -> None:
    name = compression.value
    good = chunkfile.encode(DATA, compression)
    for body, reason in (
        (b"", "begins with nothing"),
        (b"\x28\xb5\x2f", "begins with 28b52f"),
        (DATA, "neither xz, gzip nor zstd"),
        (good[:-1], f"truncated {name} stream"),
        (good + b"\0", f"something follows the end of the {name} stream"),
        (chunkfile.encode(DATA + b"x", compression), f"{name} stream of more than 5000 bytes"),
        (chunkfile.encode(DATA[:-1], compression), "4999 bytes where 5000 should be"),
        (chunkfile.encode(DATA[:-1] + b"!", compression), "its content has the digest"),
        (good[:10] + bytes(10_000), "a body of 10010 bytes is too long for 5000 bytes"),
    ):
        with pytest.raises(ChunkInvalid, match=f"^chunk {ID.hex()}: .*{reason}"):
            decode(body)


def test_a_raw_body_must_have_length_and_digest() -> None:
    assert decode(DATA, compressed=False) == DATA
    for body, reason in (
        (DATA[:-1], "4999 bytes where 5000"),
        (DATA + b"x", "5001 bytes where 5000"),
        (DATA[:-1] + b"!", "its content has the digest"),
        (chunkfile.encode(DATA, Compression.ZSTD), "bytes where 5000"),
    ):
        with pytest.raises(ChunkInvalid, match=reason):
            decode(body, compressed=False)


def test_the_digest_of_the_other_algorithm_is_refused() -> None:
    body = chunkfile.encode(DATA, Compression.ZSTD)
    with pytest.raises(ChunkInvalid, match="its content has the digest"):
        chunkfile.decode(body, len(DATA), Digest.SHA256.of(DATA), Digest.SHA512_256)


def test_names(monkeypatch: pytest.MonkeyPatch) -> None:
    chunk_id = ChunkId(bytes(range(0xA0, 0xC0)))
    name = chunk_id.hex()
    assert chunkfile.relative_path(chunk_id, ".cacnk") == f"a0a1/{name}.cacnk"
    assert chunkfile.relative_path(chunk_id, "") == f"a0a1/{name}"
    assert chunkfile.id_of_name(f"{name}.cacnk") == (chunk_id, ".cacnk")
    assert chunkfile.id_of_name(name) == (chunk_id, "")
    assert chunkfile.id_of_name(name.upper()) is None
    assert chunkfile.id_of_name(name[:-1]) is None
    monkeypatch.delenv(chunkfile.SUFFIX_VARIABLE, raising=False)
    assert chunkfile.compressed_suffix() == ".cacnk"
    monkeypatch.setenv(chunkfile.SUFFIX_VARIABLE, ".xz")
    assert chunkfile.compressed_suffix() == ".xz"
    for wrong in ("", "/etc"):
        monkeypatch.setenv(chunkfile.SUFFIX_VARIABLE, wrong)
        with pytest.raises(SettingInvalid, match="CASYNC_COMPRESSED_CHUNK_SUFFIX"):
            chunkfile.compressed_suffix()


@pytest.mark.parametrize("compression", list(Compression))
def test_pieces_need_no_length(compression: Compression) -> None:
    body = chunkfile.encode(DATA, compression)
    blocks = [body[at : at + 100] for at in range(0, len(body), 100)]
    assert b"".join(chunkfile.pieces(iter(blocks), True, 5000)) == DATA
    with pytest.raises(ChunkInvalid, match="more than 4999 bytes"):
        list(chunkfile.pieces(iter(blocks), True, 4999))
    assert b"".join(chunkfile.pieces(iter([DATA]), False, 5000)) == DATA
    with pytest.raises(ChunkInvalid, match="more than 4999 bytes"):
        list(chunkfile.pieces(iter([DATA]), False, 4999))

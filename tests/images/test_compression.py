# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import lzma
import subprocess
import sys
import zlib
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from images import zstd
from images.compression import PIECE, Compression, compress, decompress, decompress_pieces
from images.errors import ChunkInvalid, NotAccessible, SettingInvalid
from tests.capabilities import require_module

SAMPLE = bytes(range(256)) * 20 + b"casync" * 500

every_algorithm = pytest.mark.parametrize("algorithm", list(Compression))


@pytest.fixture(params=zstd.LOADERS, ids=lambda load: load.__name__)
def library(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> zstd.Library:
    """Every zstd library in turn, as the one that is used."""
    if request.param is zstd.standard_library and sys.version_info < (3, 14):
        pytest.skip("missing: Python 3.14")
    if request.param is zstd.backport:
        require_module("backports.zstd")
    if request.param is zstd.zstandard:
        require_module("zstandard")
    loaded: zstd.Library = request.param()
    monkeypatch.setattr(zstd, "library", lambda: loaded)
    return loaded


@pytest.fixture
def no_library_yet() -> Iterator[None]:
    """Forget which library was chosen, before and after the test."""
    zstd.library.cache_clear()
    yield
    zstd.library.cache_clear()


def test_names_are_those_of_casync() -> None:
    assert [Compression.parse(name) for name in ("zstd", "xz", "gzip", "default")] == [
        Compression.ZSTD,
        Compression.XZ,
        Compression.GZIP,
        Compression.ZSTD,
    ]
    for wrong in ("", "none", "ZSTD", "lz4"):
        with pytest.raises(SettingInvalid, match="unknown compression"):
            Compression.parse(wrong)


@every_algorithm
@given(data=st.binary(max_size=5000), repeat=st.integers(1, 50))
@settings(max_examples=40, deadline=None)
def test_what_was_compressed_comes_back(algorithm: Compression, data: bytes, repeat: int) -> None:
    data *= repeat
    assert decompress(compress(data, algorithm), algorithm, len(data)) == data


@every_algorithm
def test_truncation_is_noticed_at_each_byte(algorithm: Compression) -> None:
    body = compress(SAMPLE, algorithm)
    for length in range(len(body)):
        with pytest.raises(ChunkInvalid, match=f"truncated {algorithm.value} stream"):
            decompress(body[:length], algorithm, len(SAMPLE))


@every_algorithm
def test_what_follows_a_stream_is_noticed(algorithm: Compression) -> None:
    body = compress(SAMPLE, algorithm)
    skippable_zstd_frame = b"\x50\x2a\x4d\x18\1\0\0\0x"
    for rest in (b"\0", b"\0\0\0\0", body, skippable_zstd_frame, bytes(100_000)):
        with pytest.raises(ChunkInvalid, match="something follows the end"):
            decompress(body + rest, algorithm, 2 * len(SAMPLE))
        with pytest.raises(ChunkInvalid, match="something follows the end"):
            list(decompress_pieces((body, rest), algorithm, 2 * len(SAMPLE)))


@every_algorithm
@given(at=st.integers(0, 10_000), bit=st.integers(0, 7))
@settings(max_examples=100, deadline=None)
def test_damage_is_refused_or_harmless(algorithm: Compression, at: int, bit: int) -> None:
    body = bytearray(compress(SAMPLE, algorithm))
    body[at % len(body)] ^= 1 << bit
    with suppress(ChunkInvalid):  # every other exception is a fault
        assert len(decompress(body, algorithm, len(SAMPLE))) <= len(SAMPLE)


@every_algorithm
def test_the_limit_itself_passes_and_one_byte_more_does_not(algorithm: Compression) -> None:
    body = compress(SAMPLE, algorithm)
    assert decompress(body, algorithm, len(SAMPLE)) == SAMPLE
    with pytest.raises(ChunkInvalid, match=f"stream of more than {len(SAMPLE) - 1} bytes"):
        decompress(body, algorithm, len(SAMPLE) - 1)


@every_algorithm
def test_pieces_of_a_long_stream_are_bounded(algorithm: Compression) -> None:
    body = compress(bytes(5_000_000), algorithm)
    pieces = list(decompress_pieces((body,), algorithm, 5_000_000))
    assert sum(map(len, pieces)) == 5_000_000
    assert max(map(len, pieces)) <= PIECE


@every_algorithm
def test_a_bomb_takes_no_memory(algorithm: Compression, tmp_path: Path) -> None:
    bomb = tmp_path / "bomb"
    bomb.write_bytes(_zeros(algorithm))
    script = """
import resource, sys
from images.compression import Compression, compress, decompress
from images.errors import ChunkInvalid
algorithm, body = Compression(sys.argv[1]), open(sys.argv[2], "rb").read()
decompress(compress(bytes(65536), algorithm), algorithm, 65536)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    decompress(body, algorithm, 65536)
except ChunkInvalid as error:
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    result = subprocess.run(
        [sys.executable, "-c", script, algorithm.value, bomb],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=Path(__file__).parents[2],
    )
    assert int(result.stdout) < 8 << 10, result  # KiB


def _zeros(algorithm: Compression) -> bytes:
    """Return a stream of a gibibyte of zeros; for xz and gzip, which are slow, of 32 MiB."""
    if algorithm is Compression.ZSTD:
        header = b"\x28\xb5\x2f\xfd\x00\x38"  # RFC 8878: a window of 128 KiB, unknown length
        rle_block = (1 << 1 | (128 << 10) << 3).to_bytes(3, "little") + b"\0"
        last_block = (1 | 1 << 1 | (128 << 10) << 3).to_bytes(3, "little") + b"\0"
        return header + rle_block * 8191 + last_block
    if algorithm is Compression.XZ:
        return lzma.compress(bytes(32 << 20), preset=0)
    return zlib.compress(bytes(32 << 20), 1, wbits=31)


def test_the_bomb_is_a_whole_zstd_frame() -> None:
    body = _zeros(Compression.ZSTD)
    pieces = decompress_pieces((body,), Compression.ZSTD, 1 << 30)
    assert sum(map(len, pieces)) == 1 << 30


def test_xz_has_the_check_of_casync_and_gzip_neither_time_nor_name() -> None:
    decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ)
    decoder.decompress(compress(SAMPLE, Compression.XZ))
    assert decoder.check == lzma.CHECK_CRC64
    assert compress(SAMPLE, Compression.GZIP)[:8] == b"\x1f\x8b\x08\0\0\0\0\0"


def test_an_xz_dictionary_larger_than_any_chunk_is_refused() -> None:
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 256 << 20}]
    body = lzma.compress(b"x", lzma.FORMAT_XZ, lzma.CHECK_CRC64, filters=filters)
    with pytest.raises(ChunkInvalid, match="damaged xz stream"):
        decompress(body, Compression.XZ, 1)


def test_gzip_output_that_ends_with_a_full_piece_is_complete() -> None:
    body = zlib.compress(bytes(PIECE), wbits=31)
    assert decompress(body, Compression.GZIP, PIECE) == bytes(PIECE)


def test_every_zstd_library_writes_frames_that_the_others_read(library: zstd.Library) -> None:
    for data in (b"", b"x", SAMPLE, bytes(300_000)):
        frame = library.compress(memoryview(data))
        assert frame.startswith(b"\x28\xb5\x2f\xfd")
        assert decompress(frame, Compression.ZSTD, len(data)) == data
        assert zstd.shared_object().decoder().decompress(frame, 300_000) == data


def test_every_zstd_library_refuses_output_beyond_the_limit(library: zstd.Library) -> None:
    frame = library.compress(bytes(20_000_000))
    for limit in (0, 1, 65536, 19_999_999):
        with pytest.raises(ChunkInvalid, match=f"zstd stream of more than {limit} bytes"):
            decompress(frame, Compression.ZSTD, limit)


def test_every_zstd_library_notices_truncation_and_rests(library: zstd.Library) -> None:
    frame = library.compress(SAMPLE)
    for length in range(len(frame)):
        with pytest.raises(ChunkInvalid, match="truncated zstd stream"):
            decompress(frame[:length], Compression.ZSTD, len(SAMPLE))
    for rest in (b"\0", frame, bytes(100_000)):
        with pytest.raises(ChunkInvalid, match="something follows"):
            decompress(frame + rest, Compression.ZSTD, 2 * len(SAMPLE))


def test_every_zstd_library_refuses_damage(library: zstd.Library) -> None:
    with pytest.raises(ChunkInvalid, match="damaged zstd stream"):
        decompress(b"\x28\xb5\x2f\xfd" + b"\xff" * 50, Compression.ZSTD, 65536)


def test_every_zstd_library_takes_input_in_blocks_of_any_size(library: zstd.Library) -> None:
    data = SAMPLE * 300
    frame = library.compress(data)
    for size in (1, 7, 1000, len(frame)):
        blocks = (frame[at : at + size] for at in range(0, len(frame), size))
        pieces = list(decompress_pieces(blocks, Compression.ZSTD, len(data)))
        assert b"".join(pieces) == data
        assert max(map(len, pieces)) <= PIECE


def test_the_first_zstd_library_that_loads_is_taken(
    no_library_yet: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def absent() -> zstd.Library:
        raise ImportError

    monkeypatch.setattr(zstd, "LOADERS", (absent, zstd.shared_object))
    assert zstd.library().name == "libzstd.so.1"


def test_without_any_zstd_library_the_error_says_what_to_install(
    no_library_yet: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(zstd, "LOADERS", ())
    with pytest.raises(NotAccessible, match="no zstd library") as caught:
        zstd.library()
    assert "libzstd1" in str(caught.value.hint)

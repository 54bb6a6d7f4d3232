# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from bench.digest import OPENSSL, DigestRow, _chunks, measure
from bench.report import as_json, table
from images._native import _kernels
from images.sizes import ChunkSizes


def test_every_kernel_stands_beside_openssl_on_one_core_and_on_all() -> None:
    rows = measure(1 << 20, turns=1)
    names = {OPENSSL, *_kernels.digest_kernels()}
    for threads in {row.threads for row in rows}:
        assert {row.contender for row in rows if row.threads == threads} == names
    assert {row.times_openssl for row in rows if row.contender == OPENSSL} == {1.0}
    assert 1 in {row.threads for row in rows}


def test_the_chunks_are_as_long_as_chunks_are() -> None:
    sizes, chunks = ChunkSizes.of(), _chunks(8 << 20)
    assert sum(map(len, chunks)) == 8 << 20
    assert all(sizes.minimum <= len(chunk) <= sizes.maximum for chunk in chunks[:-1])
    mean = (8 << 20) / len(chunks)
    assert sizes.average / 1.5 < mean < sizes.average * 1.5


def test_the_table_and_the_numbers_have_the_digests() -> None:
    rows = [DigestRow(OPENSSL, 1, 5e8, 1.0), DigestRow("avx2", 2, 2e9, 2.0)]
    lines = table([], None, rows).splitlines()
    assert lines[1].split() == ["1", "core", "openssl", "0.50", "1.0x"]
    assert lines[2].split() == ["2", "cores", "avx2", "2.00", "2.0x"]
    found = as_json([], None, rows)["digest"]
    assert isinstance(found, list)
    assert found[1] == {
        "contender": "avx2",
        "threads": 2,
        "bytes_per_second": 2e9,
        "times_openssl": 2.0,
    }

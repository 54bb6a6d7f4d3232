# SPDX-License-Identifier: Apache-2.0
"""The scan's fixed points, and what its binding refuses."""

from __future__ import annotations

import hashlib
import random
import struct
import threading

import pytest

from images._native import _kernels
from images.sizes import ChunkSizes
from tests.images.native import oracle

KERNELS = _kernels.kernels()


def test_the_table_is_casyncs() -> None:
    assert len(set(oracle.TABLE)) == 256
    digest = hashlib.sha256(struct.pack("<256I", *oracle.TABLE)).hexdigest()
    assert digest == "5b52080d38287da9d2e278466e3e0db7ec98e5e8b226f50612a56fa012b1f660"


def test_the_oracle_has_the_hashes_of_the_specification() -> None:
    assert oracle.window_hash(bytes(range(48))) == 0x6B67DEC6
    assert oracle.hashes(bytes(range(49))) == [0xA3FC25F1]
    assert oracle.window_hash(bytes(48)) == 0x9E489E48


@pytest.mark.parametrize("kernel", KERNELS)
def test_every_kernel_has_the_hashes_of_the_specification(kernel: str) -> None:
    """A hash is known by the discriminators that divide it plus 1, and by those that do not."""
    for data, value in ((bytes(range(49)), 0xA3FC25F1), (bytes(49), 0x9E489E48)):
        for discriminator in (value + 1, *range(1, 200)):
            bits = bytearray(8)
            _kernels.scan(kernel, data, bits, discriminator)
            assert bits[0] == (value % discriminator == discriminator - 1)


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_blob_vector_has_these_candidates(kernel: str) -> None:
    """Marks of the megabyte whose chunks casync's own index lists."""
    data = b"".join(hashlib.sha256(i.to_bytes(8, "little")).digest() for i in range(31250))
    bits = bytearray((len(data) - 48 + 63) // 64 * 8)
    _kernels.scan(kernel, data, bits, ChunkSizes.of().discriminator)
    marked = []
    position = -1
    while (position := _kernels.find_bit(bits, position + 1, len(data) - 48)) < len(data) - 48:
        marked.append(position + 49)
    ends = {80921, 138220, 187412, 237372, 296795, 348909, 437333, 483751, 584033, 676269}
    assert ends | {776182, 792964, 865744, 907329, 945783} <= set(marked)
    assert len(marked) == 20


def test_portable_is_always_there_and_last() -> None:
    assert KERNELS[-1] == "portable"
    assert len(set(KERNELS)) == len(KERNELS)


@pytest.mark.parametrize("discriminator", [1, 2, 3, 49535, 65536, 2**31, 2**32 - 1])
def test_the_cut_test_at_its_edges(discriminator: int) -> None:
    multiple = 2**32 // discriminator * discriminator
    edges = {0, 1, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1, discriminator - 2, discriminator - 1}
    edges |= {discriminator, multiple - 2, multiple - 1, multiple}
    generator = random.Random(discriminator)
    edges |= {generator.randrange(2**32) for _ in range(2000)}
    for value in edges:
        if 0 <= value < 2**32:
            expected = value % discriminator == discriminator - 1
            assert _kernels.cuts_at(value, discriminator) == expected


@pytest.mark.parametrize(
    ("data", "bits", "discriminator"),
    [
        (bytes(47), bytearray(8), 5),
        (bytes(48 + 65), bytearray(8), 5),
        (bytes(48 + 64), memoryview(bytearray(16))[1:9], 5),
        (bytes(48 + 64), bytearray(12), 5),
        (bytes(48), bytearray(), 0),
        (bytes(48), bytearray(), 2**32),
    ],
    ids=[
        "no window",
        "bits too short",
        "bits not aligned",
        "half a word",
        "discriminator 0",
        "discriminator above 32 bits",
    ],
)
def test_a_wrong_call_is_refused(
    data: bytes, bits: bytearray | memoryview, discriminator: int
) -> None:
    with pytest.raises(ValueError, match=r"bits|discriminator"):
        _kernels.scan("portable", data, bits, discriminator)


def test_an_unknown_kernel_is_refused() -> None:
    with pytest.raises(ValueError, match="no kernel mmx"):
        _kernels.scan("mmx", bytes(48), bytearray(), 5)


@pytest.mark.parametrize(("value", "discriminator"), [(2**32, 5), (5, 0), (5, 2**32)])
def test_numbers_beyond_32_bits_are_refused(value: int, discriminator: int) -> None:
    with pytest.raises(ValueError, match="below"):
        _kernels.cuts_at(value, discriminator)


def test_read_only_bits_are_refused() -> None:
    with pytest.raises(TypeError):
        _kernels.scan("portable", bytes(48 + 64), bytes(8), 5)


@pytest.mark.parametrize("kernel", KERNELS)
def test_threads_scan_at_the_same_time(kernel: str) -> None:
    data = random.Random(3).randbytes(200_048)
    expected = bytearray(25_000)
    _kernels.scan(kernel, data, expected, 99)
    found = [bytearray(25_000) for _ in range(4)]
    threads = [
        threading.Thread(target=_kernels.scan, args=(kernel, data, bits, 99)) for bits in found
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60.0)
    assert found == [expected] * 4

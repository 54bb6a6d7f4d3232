# SPDX-License-Identifier: Apache-2.0
"""Every digest kernel gives the digests of OpenSSL: on this CPU, and AVX-512 under emulation.

What decides is where a piece ends in its last block, which lane it is in, and what the other lanes
do meanwhile: so all short lengths, lengths around the borders of blocks, and lengths that differ
much.
"""

from __future__ import annotations

import hashlib
import random
import struct
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from images._native import _kernels
from tests.capabilities import require_tool
from tests.images.native.build import DEADLINE_S, HERE, WARNINGS, compile_program

KERNELS = _kernels.digest_kernels()
SOURCES = {
    "avx2": ("digest_lanes.c", "digest_avx2.c"),
    "avx512": ("digest_lanes.c", "digest_avx512.c", "digest_avx512_tail.c"),
}

# FIPS 180-4 examples (NIST, "SHA512_256.pdf"), and the empty message.
NIST = {
    b"": "c672b8d1ef56ed28ab87c3622c5114069bdd3ad7b8f9737498d0c01ecef0967a",
    b"abc": "53048e2681941ef99b2e29b76b4c7dabe4c2d0c634fc6d46e0e2f13107e7af23",
    b"abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmn"
    b"hijklmnoijklmnopjklmnopqklmnopqrlmnopqrsmnopqrstnopqrstu": (
        "3928e184fb8690f840da3988121d31be65cb9d3ef83ee6146feac861e19b563a"
    ),
}


def digests(pieces: Sequence[bytes]) -> bytes:
    return b"".join(hashlib.new("sha512_256", piece).digest() for piece in pieces)


def batches() -> dict[str, list[bytes]]:
    generator = random.Random(512)
    borders = [n * 128 + d for n in (1, 2, 3, 8) for d in (-17, -16, -15, -1, 0, 1, 111, 112, 113)]
    mixed = [int(2 ** generator.uniform(0, 17)) for _ in range(40)]
    lengths = {
        "nothing": [],
        "one empty piece": [0],
        "nine empty pieces": [0] * 9,
        "one piece": [1000],
        "one long, many short": [100_000, *[10] * 30],
        "many short, one long": [*[10] * 30, 100_000],
        "all lengths to 300": list(range(301)),
        "around the borders of blocks": borders,
        "very different": mixed,
        "equal": [4096] * 17,
        "lanes fall idle one by one": [1000 * n for n in range(1, 9)],
        "half of the lanes begin to pad when the others end": [1024] * 4 + [1152] * 4,
    }
    return {name: list(map(generator.randbytes, given)) for name, given in lengths.items()}


def digest_by_program(program: Path, pieces: Sequence[bytes]) -> bytes:
    sent = b"".join(struct.pack("=Q", len(piece)) + piece for piece in pieces)
    done = subprocess.run(
        [program], input=sent, capture_output=True, timeout=DEADLINE_S, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_examples_of_the_standard(kernel: str) -> None:
    expected = b"".join(map(bytes.fromhex, NIST.values()))
    assert digests(list(NIST)) == expected
    assert _kernels.digest_each(kernel, list(NIST)) == expected


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("name", batches())
def test_a_batch_has_the_digests_of_openssl(kernel: str, name: str) -> None:
    pieces = batches()[name]
    assert _kernels.digest_each(kernel, pieces) == digests(pieces)


@pytest.mark.parametrize("kernel", KERNELS)
def test_each_number_of_pieces_and_each_order(kernel: str) -> None:
    generator = random.Random(1)
    for count in range(20):
        pieces = [generator.randbytes(generator.randrange(2000)) for _ in range(count)]
        assert _kernels.digest_each(kernel, pieces) == digests(pieces)


@pytest.mark.parametrize("kernel", KERNELS)
def test_pieces_stand_at_any_address_in_any_kind_of_buffer(kernel: str) -> None:
    memory = bytearray(random.Random(2).randbytes(5000))
    with memoryview(memory) as view:
        pieces = [view[start : start + 700] for start in range(64)]
        given: list[bytes | bytearray | memoryview] = [*pieces, memory, bytes(memory)]
        assert _kernels.digest_each(kernel, given) == digests([bytes(piece) for piece in given])
        for piece in pieces:
            piece.release()
    memory += b"x"  # no buffer is held any longer


@pytest.mark.parametrize("kernel", KERNELS)
def test_threads_digest_at_the_same_time(kernel: str) -> None:
    pieces = batches()["very different"]
    found: list[bytes] = []
    threads = [
        threading.Thread(target=lambda: found.append(_kernels.digest_each(kernel, pieces)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60.0)
    assert found == [digests(pieces)] * 4


def test_a_wrong_call_is_refused() -> None:
    with pytest.raises(ValueError, match="no kernel mmx"):
        _kernels.digest_each("mmx", [])
    with pytest.raises(ValueError, match="portable does not digest"):
        _kernels.digest_each("portable", [b"a"])
    for kernel in KERNELS:
        with pytest.raises(TypeError):
            _kernels.digest_each(kernel, (b"a", b"b"))
        with pytest.raises(TypeError):
            _kernels.digest_each(kernel, [b"a", "b"])  # type: ignore[list-item]
        with pytest.raises(BufferError):
            _kernels.digest_each(kernel, [b"a", memoryview(b"abcd")[::2]])


@pytest.mark.parametrize("optimization", ["-O0", "-O3"])
@pytest.mark.parametrize("kernel", KERNELS)
def test_no_byte_beyond_a_piece_and_nothing_undefined(
    kernel: str, optimization: str, tmp_path: Path
) -> None:
    program = tmp_path / "digest"
    sanitizers = (
        "-fsanitize=address,undefined",
        "-fno-sanitize-recover=all",
        f"-DDIGEST=digest_{kernel}",
    )
    flags = (*WARNINGS, optimization, "-g", *sanitizers)
    compile_program(program, "digest_pieces.c", *SOURCES[kernel], flags=flags)
    for pieces in batches().values():
        assert digest_by_program(program, pieces) == digests(pieces)


def test_avx512_agrees_under_emulation(tmp_path: Path) -> None:
    """SIMDe computes each intrinsic in plain C: this proves the algorithm, not the CPU."""
    if not Path("/usr/include/simde/x86/avx512.h").exists():
        require_tool("libsimde-dev (a header library)")
    program = tmp_path / "digest"
    emulation = ("-std=gnu11", "-O1", "-DTARGET=", "-include", str(HERE / "emulated_avx512.h"))
    flags = (*emulation, "-Wno-psabi", "-DDIGEST=digest_avx512")
    compile_program(program, "digest_pieces.c", *SOURCES["avx512"], flags=flags)
    for pieces in batches().values():
        assert digest_by_program(program, pieces) == digests(pieces)

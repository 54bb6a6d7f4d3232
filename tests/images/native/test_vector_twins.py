# SPDX-License-Identifier: Apache-2.0
"""Every kernel marks the same cuts: on this CPU, and those of other CPUs under emulation.

The C program `compare_kernels.c` holds each kernel against the plain rolling hash and `%`: all
lengths to 200, odd alignments, many divisors, hashes at the edges of the test, one candidate at
each bit, zeros with one other byte, constant and periodic bytes. What runs here is compared with
the Python oracle as well, through the binding.
"""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest

from images._native import _kernels
from tests.capabilities import require_tool
from tests.images.native import oracle
from tests.images.native.build import (
    HERE,
    SOURCES,
    WARNINGS,
    compile_comparison,
    compile_program,
    run_program,
)

AGREED = "5934 scans agree\n"  # for two kernels
DISCRIMINATORS = [1, 2, 3, 64, 3075, 12318, 49535, 65536, 2**31, 2**32 - 1]


def scan(kernel: str, data: bytes, discriminator: int) -> bytes:
    bits = bytearray(b"\xa5" * ((len(data) - oracle.WINDOW + 63) // 64 * 8))
    _kernels.scan(kernel, data, bits, discriminator)
    return bytes(bits)


def inputs() -> dict[str, bytes]:
    generator = random.Random(48)
    spot = bytearray(1000)
    spot[500] = 7
    return {
        "random": generator.randbytes(3000),
        "zeros": bytes(1000),
        "one byte in zeros": bytes(spot),
        "zeros between": generator.randbytes(300) + bytes(500) + generator.randbytes(300),
        "constant": b"\xff" * 700,
        "periodic": bytes(range(97)) * 8,
        "text": b"the quick brown fox jumps over the lazy dog\n" * 30,
        "nothing": generator.randbytes(48),
        "one": generator.randbytes(49),
        "63": generator.randbytes(48 + 63),
        "65": generator.randbytes(48 + 65),
    }


@pytest.mark.parametrize("kernel", _kernels.kernels())
@pytest.mark.parametrize("name", inputs())
def test_a_kernel_marks_what_the_oracle_marks(kernel: str, name: str) -> None:
    data = inputs()[name]
    values = oracle.hashes(data)
    for discriminator in DISCRIMINATORS:
        assert scan(kernel, data, discriminator) == oracle.marks(values, discriminator)


@pytest.mark.parametrize("kernel", _kernels.kernels())
def test_blocks_scanned_apart_are_those_scanned_at_once(kernel: str) -> None:
    data = random.Random(1).randbytes(48 + 64 * 50)
    whole = scan(kernel, data, 11)
    for block in (64, 640, 1600):
        pieces = [scan(kernel, data[i : i + 48 + block], 11) for i in range(0, 3200, block)]
        assert b"".join(pieces) == whole


def kernels_of_this_cpu() -> tuple[str, ...]:
    return tuple(kernel for kernel in _kernels.kernels() if kernel != "portable")


@pytest.mark.parametrize("optimization", ["-O0", "-O2", "-O3"])
def test_the_kernels_of_this_cpu_agree(optimization: str, tmp_path: Path) -> None:
    program = tmp_path / "compare"
    compile_comparison(program, "portable", *kernels_of_this_cpu(), flags=(*WARNINGS, optimization))
    assert "scans agree" in run_program(str(program))


def test_avx512_agrees_under_emulation(tmp_path: Path) -> None:
    """SIMDe computes each intrinsic in plain C: this proves the algorithm, not the CPU."""
    if not Path("/usr/include/simde/x86/avx512.h").exists():
        require_tool("libsimde-dev (a header library)")
    program = tmp_path / "compare"
    emulation = ("-std=gnu11", "-O1", "-DTARGET=", "-include", str(HERE / "emulated_avx512.h"))
    compile_comparison(program, "portable", "avx512", flags=emulation)
    assert run_program(str(program)) == AGREED


def test_neon_agrees_under_emulation(tmp_path: Path) -> None:
    """The real machine code of an ARM kernel, executed by QEMU."""
    require_tool("aarch64-linux-gnu-gcc", "qemu-aarch64-static")
    program = tmp_path / "compare"
    flags = (*WARNINGS, "-O2", "-static")
    compile_comparison(program, "portable", "neon", flags=flags, compiler="aarch64-linux-gnu-gcc")
    assert run_program("qemu-aarch64-static", str(program)) == AGREED


def test_the_cut_test_is_that_of_division_for_every_hash(tmp_path: Path) -> None:
    """All 2**32 hashes, for an odd, an even and a power of two; about 30 s of CPU time."""
    program = tmp_path / "predicate"
    compile_program(program, "predicate_all.c", "divisor.c", flags=("-std=c11", "-O2", "-pthread"))
    divisors = (49535, 3074, 65536)
    expected = "".join(f"{divisor} {2**32 // divisor}\n" for divisor in divisors)
    assert run_program(str(program), *map(str, divisors)) == expected


@pytest.mark.parametrize("compiler", ["cc", "aarch64-linux-gnu-gcc"])
def test_every_kernel_file_compiles_without_a_warning(compiler: str, tmp_path: Path) -> None:
    require_tool(compiler)
    files = sorted(path for path in SOURCES.glob("*.c") if path.name != "module.c")
    assert shutil.which(compiler)
    for file in files:
        compile_program(
            tmp_path / f"{file.stem}.o",
            str(file),
            flags=(*WARNINGS, "-O2", "-c"),
            compiler=compiler,
        )

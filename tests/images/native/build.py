# SPDX-License-Identifier: Apache-2.0
"""Compiles the C programs of these tests from the kernels' own sources."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.capabilities import require_tool

HERE = Path(__file__).parent
SOURCES = HERE.parents[2] / "images" / "_native"
WARNINGS = ("-std=c11", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror")
DEADLINE_S = 240.0


def compile_program(
    program: Path, main: str, *sources: str, flags: tuple[str, ...], compiler: str = "cc"
) -> None:
    """Compile `main` of this folder with `sources` of the kernels' folder."""
    require_tool(compiler)
    files = [str(HERE / main), *(str(SOURCES / source) for source in sources)]
    subprocess.run(
        [compiler, *flags, f"-I{SOURCES}", *files, "-o", str(program)],
        check=True,
        timeout=DEADLINE_S,
    )


def compile_comparison(
    program: Path, *kernels: str, flags: tuple[str, ...], compiler: str = "cc"
) -> None:
    """Compile the program that compares `kernels` with the plain rolling hash."""
    names = " ".join(f"X(scan_{kernel})" for kernel in kernels)
    sources = [f"scan_{kernel}.c" for kernel in kernels]
    compile_program(
        program,
        "compare_kernels.c",
        *("buffers.c", "divisor.c", *sources),
        flags=(*flags, f"-DKERNELS={names}"),
        compiler=compiler,
    )


def run_program(*command: str) -> str:
    """Run a program to its end, which must be a success without a word on standard error."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout

# SPDX-License-Identifier: Apache-2.0
"""The kernels and the whole extension under AddressSanitizer and UndefinedBehaviorSanitizer.

The comparison program gives the kernels buffers of the exact length, at odd addresses too. The
tests of this folder then run over an extension that was built with both sanitizers, in a Python
that loads the sanitizers' libraries first and takes its memory from malloc, which they watch.
"""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from images._native import _kernels
from tests.capabilities import require_tool
from tests.images.native.build import DEADLINE_S, SOURCES, WARNINGS, compile_comparison, run_program

SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
OPTIONS = {
    # CPython keeps what it made to its end.
    "ASAN_OPTIONS": "halt_on_error=1:detect_leaks=0:strict_string_checks=1",
    "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
    "PYTHONMALLOC": "malloc",
}
ROOT = SOURCES.parents[1]

# Before `images` is imported, so that all of it has the extension of the first argument.
IN_ITS_PLACE = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("images._native._kernels", sys.argv.pop(1))
sys.modules[spec.name] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(sys.modules[spec.name])
from images._native import _kernels
"""
NOT_PROGRAMS = "not no_byte_beyond and not emulation"
"""Tests that compile programs of their own do not meet the extension."""
TESTS = ("buffers", "digests", "scan")
PYTEST = "import pytest; sys.exit(pytest.main(sys.argv[1:]))"


@dataclass(frozen=True, slots=True)
class Fault:
    """A defect in module.c, a call that meets it, and what the sanitizers say then."""

    right: str
    wrong: str
    call: str
    report: str


FAULTS = (
    Fault(
        "items.buf, (size_t)items.len / ITEM_LENGTH, maximum",
        "items.buf, (size_t)items.len / ITEM_LENGTH + 1, maximum",
        "_kernels.first_bad_item((1).to_bytes(8, 'little') + bytes(32), 1)",
        "heap-buffer-overflow",
    ),
    Fault(
        "result = PyLong_FromSsize_t(stop);",
        "result = PyLong_FromSsize_t(stop << (stop + 80));",
        "_kernels.find_bit(b'', 0, 0)",
        "runtime error: shift exponent 80",
    ),
)


def test_no_byte_beyond_a_buffer_and_nothing_undefined(tmp_path: Path) -> None:
    program = tmp_path / "compare"
    kernels = ("portable", *(k for k in _kernels.kernels() if k != "portable"))
    compile_comparison(program, *kernels, flags=(*WARNINGS, "-O1", "-g", *SANITIZERS))
    assert "scans agree" in run_program(str(program))


def test_the_extension(tmp_path: Path) -> None:
    tests = [str(Path(__file__).with_name(f"test_{name}.py")) for name in TESTS]
    options = (
        "-q",
        "-p",
        "no:randomly",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:xdist",
        "-k",
        NOT_PROGRAMS,
    )
    done = run_with(build(tmp_path, SOURCES), PYTEST, *options, *tests)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" in done.stdout and "runtime error" not in done.stderr


def test_faults_are_seen(tmp_path: Path) -> None:
    """What is broken on purpose ends the process: the test above can fail."""
    sources = tmp_path / "sources"
    sources.mkdir()
    for path in SOURCES.glob("*.[ch]"):
        (sources / path.name).write_text(path.read_text())
    text = (sources / "module.c").read_text()
    for fault in FAULTS:
        assert text.count(fault.right) == 1
        text = text.replace(fault.right, fault.wrong)
    (sources / "module.c").write_text(text)
    extension = build(tmp_path, sources)
    for fault in FAULTS:
        done = run_with(extension, fault.call)
        assert done.returncode != 0
        assert fault.report in done.stderr, done.stderr


def build(folder: Path, sources: Path) -> Path:
    """Compile the extension of some sources with both sanitizers."""
    require_tool("cc")
    extension = folder / "_kernels.abi3.so"
    include = sysconfig.get_path("include")
    files = sorted(str(path) for path in sources.glob("*.c"))
    flags = ("-std=c11", "-O1", "-g", "-fPIC", "-shared", "-DPy_LIMITED_API=0x030B0000")
    command = ["cc", *flags, *SANITIZERS, f"-I{include}", *files, "-o", str(extension)]
    subprocess.run(command, check=True, timeout=DEADLINE_S)
    return extension


def run_with(extension: Path, code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python code that finds a sanitized extension as `images._native._kernels`."""
    libraries = [_library(name) for name in ("libasan.so", "libubsan.so")]
    return subprocess.run(
        [sys.executable, "-c", IN_ITS_PLACE + code, str(extension), *arguments],
        cwd=ROOT,
        env={**os.environ, **OPTIONS, "LD_PRELOAD": " ".join(libraries)},
        capture_output=True,
        text=True,
        errors="replace",
        timeout=DEADLINE_S,
        check=False,
    )


def _library(name: str) -> str:
    """Return where the compiler has a library of its sanitizers."""
    command = ["cc", f"-print-file-name={name}"]
    found = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    assert Path(found).is_absolute(), f"{name} is not there"
    return found

# SPDX-License-Identifier: Apache-2.0
"""The kernels and the buffer functions under AddressSanitizer and UndefinedBehaviorSanitizer.

The comparison program gives them buffers of the exact length, at odd addresses too.
"""

from __future__ import annotations

from pathlib import Path

from images._native import _kernels
from tests.images.native.build import WARNINGS, compile_comparison, run_program


def test_no_byte_beyond_a_buffer_and_nothing_undefined(tmp_path: Path) -> None:
    program = tmp_path / "compare"
    kernels = ("portable", *(k for k in _kernels.kernels() if k != "portable"))
    sanitizers = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
    compile_comparison(program, *kernels, flags=(*WARNINGS, "-O1", "-g", *sanitizers))
    assert "scans agree" in run_program(str(program))

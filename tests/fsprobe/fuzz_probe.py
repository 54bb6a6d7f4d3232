# SPDX-License-Identifier: Apache-2.0
"""Fuzz target: any device content leads to None, a superblock within the device, or a ProbeError.

Run it by hand for longer, with a folder that holds and collects inputs:

    PYTHONPATH=. python tests/fsprobe/fuzz_probe.py -max_total_time=600 CORPUS
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["fsprobe"]):
    from tests.fsprobe.footprint import answer, decoded, laid_out


def one_input(data: bytes) -> None:
    whole = decoded(data)
    with laid_out(whole, length=whole.length) as fd:
        answer(fd)


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()

# SPDX-License-Identifier: Apache-2.0
"""Any device content leads to None, a superblock within the device, or a ProbeError.

An input is a footprint, see `tests.fsprobe.footprint`.
"""

from __future__ import annotations

from fsprobe import Superblock
from tests.fsprobe.footprint import answer, decoded, laid_out

LONGEST = 40000


def fuzz(data: bytes) -> bool:
    whole = decoded(data)
    with laid_out(whole, length=whole.length) as fd:
        return isinstance(answer(fd), Superblock)

# SPDX-License-Identifier: Apache-2.0
"""Any block is refused, or takes our variables and keeps everybody else's."""

from __future__ import annotations

from pathlib import Path

from boot.errors import EnvironmentInvalid
from boot.grubenv import LENGTH, SECTOR, SIGNATURE, Block, region_length

LONGEST = LENGTH
PATH = Path("grubenv")
LONGEST_VALUES = {"ORDER": "A B", "A_OK": "0", "A_TRY": "99", "B_OK": "0", "B_TRY": "99"}
OURS = {"ORDER": "B A", "A_OK": "1", "A_TRY": "0", "B_OK": "1", "B_TRY": "3"}


def fuzz(data: bytes) -> bool:
    return any([_taken(data), _taken(_filled(data))])


def _taken(data: bytes) -> bool:
    try:
        block = Block.parse(data, PATH)
        before = block.variables()
        written = block.with_first(OURS, region_length(LONGEST_VALUES))
    except EnvironmentInvalid:
        return False
    assert len(written) == LENGTH
    again = Block.parse(written, PATH)
    assert again.variables() == before | OURS
    assert again.first_sector_holds(set(OURS))
    # Another change of ours leaves the second sector alone: a power cut has nothing to tear.
    changed = again.with_first({**OURS, "B_TRY": "12"}, region_length(LONGEST_VALUES))
    assert changed[SECTOR:] == written[SECTOR:]
    assert again.with_first(OURS, region_length(LONGEST_VALUES)) == written
    return True


def _filled(data: bytes) -> bytes:
    """Give any lines the signature and the length."""
    return (SIGNATURE + data.removeprefix(SIGNATURE).rstrip(b"#"))[:LENGTH].ljust(LENGTH, b"#")

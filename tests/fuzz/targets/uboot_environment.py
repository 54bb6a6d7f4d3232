# SPDX-License-Identifier: Apache-2.0
"""Any copies are refused, or a change is made to the older one and keeps all other variables.

A byte says how many copies there are, how they are marked, and whether each has its checksum put
right; the rest is the copies.
"""

from __future__ import annotations

import sys
import zlib
from pathlib import Path

from boot.errors import EnvironmentFault, EnvironmentInvalid
from boot.media import Location, Medium, Scheme
from boot.uboot_environment import CRC_SIZE, StoredEnvironment

LONGEST = 1025
CHANGES = {"BOOT_ORDER": "B A", "BOOT_B_LEFT": "3"}


class Copy:
    """A medium in memory; see `boot.media.Medium`."""

    def __init__(self, number: int, data: bytes, scheme: Scheme) -> None:
        self.location = Location(Path(f"copy-{number}"), 0, len(data))
        self.scheme = scheme
        self.data = data

    def read(self) -> bytes:
        return self.data

    def write(self, data: bytes) -> None:
        assert len(data) == self.location.size
        self.data = data

    def clear_byte(self, at: int) -> None:
        self.data = self.data[:at] + b"\0" + self.data[at + 1 :]


def fuzz(data: bytes) -> bool:
    mode, data = data[0] if data else 0, data[1:]
    count = 1 + (mode & 1)
    size = len(data) // count
    if size < 2 * CRC_SIZE:
        return False
    scheme = Scheme.ACTIVE if mode & 2 else Scheme.SERIAL
    copies = []
    for number in range(count):
        raw = data[number * size : (number + 1) * size]
        if not mode & 4 << number:
            raw = _with_checksum(raw, CRC_SIZE + count - 1)
        copies.append(Copy(number, raw, scheme))
    stored = _stored(copies)
    try:
        before = stored.read()
    except EnvironmentInvalid:
        return False
    old = [copy.data for copy in copies]
    try:
        changed = stored.change(lambda _: CHANGES)
    except EnvironmentFault:  # full
        assert [copy.data for copy in copies] == old
        return True
    after = stored.read()
    assert after.variables == {**before.variables, **CHANGES}
    assert changed == (before.variables != after.variables)
    assert not stored.change(lambda _: CHANGES)
    if changed and count == 2:
        assert after.current == 1 - before.current
        _check_cut(copies, old, before.current, dict(before.variables))
    return True


def _check_cut(copies: list[Copy], old: list[bytes], current: int, before: dict[str, str]) -> None:
    """While the older copy is torn, the one in force still is."""
    new = copies[1 - current].data
    torn = bytes([new[0] ^ 1]) + new[1:]
    parts = [torn if number != current else old[current] for number in (0, 1)]
    found = _stored([Copy(n, raw, copies[0].scheme) for n, raw in enumerate(parts)]).read()
    assert (found.current, found.variables) == (current, before)
    assert len(found.warnings) == 1


def _stored(copies: list[Copy]) -> StoredEnvironment:
    media: list[Medium] = list(copies)
    return StoredEnvironment(media, lock=None)


def _with_checksum(raw: bytes, header: int) -> bytes:
    return zlib.crc32(raw[header:]).to_bytes(CRC_SIZE, sys.byteorder) + raw[CRC_SIZE:]

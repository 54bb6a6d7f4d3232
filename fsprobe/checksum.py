# SPDX-License-Identifier: Apache-2.0
"""The two CRCs of superblocks, without the inversions that some formats leave out.

CRC-32C (Castagnoli, RFC 3720 appendix B.4) is not in the standard library; superblocks are a few
KiB, so that a table is fast enough (0.1 ms for each KiB).
"""

from __future__ import annotations

import zlib

ONES = 0xFFFFFFFF

CASTAGNOLI = 0x82F63B78  # RFC 3720 B.4: 0x1EDC6F41, bits reversed


def _table() -> tuple[int, ...]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (CASTAGNOLI if value & 1 else 0)
        table.append(value)
    return tuple(table)


_TABLE = _table()


def crc32c(data: bytes, state: int = ONES) -> int:
    """Return the CRC-32C register after `data`; RFC 3720 inverts it at the end."""
    table = _TABLE
    for byte in data:
        state = table[(state ^ byte) & 255] ^ state >> 8
    return state


def crc32(data: bytes, state: int = ONES) -> int:
    """Return the register of the kernel's crc32_le() after `data`, not inverted at either end."""
    return zlib.crc32(data, state ^ ONES) ^ ONES


def without(raw: bytes, offset: int, length: int) -> bytes:
    """Return `raw` with a field, such as the checksum itself, set to zero."""
    return raw[:offset] + bytes(length) + raw[offset + length :]

# SPDX-License-Identifier: Apache-2.0
"""The pure-Python twin of the scan: the plain rolling hash and `%`, as the specification says it.

No cleverness: this is what every kernel is compared with. The table is read from the header that
the kernels include, whose digest a test checks.
"""

from __future__ import annotations

import re
import struct
from pathlib import Path

WINDOW = 48
HEADER = Path(__file__).parents[3] / "images" / "_native" / "buzhash_table.h"
TABLE = tuple(int(word, 16) for word in re.findall(r"0x[0-9a-f]{8}", HEADER.read_text()))


def rol(x: int, n: int) -> int:
    n %= 32
    return (x << n | x >> (32 - n)) & 0xFFFFFFFF


def window_hash(window: bytes) -> int:
    """Return the hash of 48 bytes by its definition, without rolling."""
    assert len(window) == WINDOW
    total = 0
    for i, byte in enumerate(window):
        total ^= rol(TABLE[byte], WINDOW - 1 - i)
    return total


def slide(h: int, leaving: int, entering: int) -> int:
    """Return the hash of the window one byte further."""
    return rol(h, 1) ^ rol(TABLE[leaving], WINDOW) ^ TABLE[entering]


def hashes(data: bytes) -> list[int]:
    """Return the window hash after each byte of `data[48:]`."""
    h = window_hash(data[:WINDOW])
    found = []
    for i in range(WINDOW, len(data)):
        h = slide(h, data[i - WINDOW], data[i])
        found.append(h)
    return found


def marks(values: list[int], discriminator: int) -> bytes:
    """Return the words that a kernel writes for these hashes."""
    words = [0] * ((len(values) + 63) // 64)
    for i, h in enumerate(values):
        if h % discriminator == discriminator - 1:
            words[i // 64] |= 1 << i % 64
    return struct.pack(f"={len(words)}Q", *words)


def cuts(data: bytes, minimum: int, average: int, maximum: int, discriminator: int) -> list[int]:
    """Return the end of every chunk of a blob, by the rule of the specification, byte by byte."""
    ends: list[int] = []
    start = 0
    h = 0
    for i in range(len(data)):
        length = i + 1 - start
        if minimum == average == maximum:
            if length == average:
                ends.append(i + 1)
                start = i + 1
            continue
        if length < WINDOW:
            continue
        if length == WINDOW:
            h = window_hash(data[start : i + 1])
        else:
            h = slide(h, data[i - WINDOW], data[i])
        if length >= minimum and (length >= maximum or h % discriminator == discriminator - 1):
            ends.append(i + 1)
            start = i + 1
    if start < len(data):
        ends.append(len(data))
    return ends

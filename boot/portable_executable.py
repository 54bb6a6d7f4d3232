# SPDX-License-Identifier: Apache-2.0
"""One section of a PE file, such as `.osrel` of a unified kernel image. Nothing else is looked at.

Source: Microsoft, PE Format: the offset of the header at 0x3c, COFF header of 20 bytes, section
headers of 40 bytes (name, virtual size, virtual address, raw size, raw offset).
"""

from __future__ import annotations

import struct
from pathlib import Path

from boot.errors import EnvironmentInvalid
from boot.storage import read_at

SECTIONS_LIMIT = 96
"""The most that Windows loads; a unified kernel image has about a dozen."""


def read_section(path: Path, name: bytes, limit: int) -> bytes | None:
    """Return what stands in a section; None if there is no such section.

    Raises:
        EnvironmentInvalid: it is no PE file, or the section is longer than `limit` bytes.
        EnvironmentFault, BootloaderMissing: it cannot be read.
    """
    head = read_at(path, 0, 64)
    if len(head) < 64 or head[:2] != b"MZ":
        raise EnvironmentInvalid(f"{path} is no PE file")
    at = int.from_bytes(head[60:64], "little")
    coff = read_at(path, at, 24)
    if len(coff) < 24 or coff[:4] != b"PE\0\0":
        raise EnvironmentInvalid(f"{path} is no PE file")
    count, optional = struct.unpack_from("<H12xH", coff, 6)
    if count > SECTIONS_LIMIT:
        raise EnvironmentInvalid(f"{path} has {count} sections")
    headers = read_at(path, at + 24 + optional, 40 * count)
    for start in range(0, len(headers) - 39, 40):
        found, length, _, raw_length, offset = struct.unpack_from("<8s4I", headers, start)
        if found.rstrip(b"\0") == name:
            length = min(length, raw_length)
            if length > limit:
                raise EnvironmentInvalid(f"{path}: section {name.decode()} has {length} bytes")
            return read_at(path, offset, length)
    return None

# SPDX-License-Identifier: Apache-2.0
"""Any partition table leads to partitions that make sense, to none, or to a refusal.

The first 16 KiB of a disk, whose GPT has its checksums put right if the first byte is even.
"""

from __future__ import annotations

import os
import struct
import sys
import zlib
from unittest import mock

from fsprobe import gpt
from fsprobe.device import Device
from tests.fsprobe.footprint import answer
from tests.fuzz.memory_file import memory_file
from updater.partitions import list_partitions

LONGEST = 4096
DISK = 64 << 10
SECTOR = 512
# What libparted makes of a table is not ours to test, and it is told of by none of our code.
NO_LIBPARTED = {"_ped": None, "parted": None}


def fuzz(data: bytes) -> bool:
    mode, head = data[0] if data else 0, data[1:]
    if not mode & 1:
        head = _with_checksums(head)
    with memory_file(head.ljust(DISK, b"\0")) as path:
        with mock.patch.dict(sys.modules, NO_LIBPARTED):
            found = list_partitions(path)
        fd = os.open(path, os.O_RDONLY)
        try:
            answer(fd)
            ranges = gpt.partitions(Device(fd))
        finally:
            os.close(fd)
    assert len({partition.number for partition in found}) == len(found)
    for partition in found:
        assert partition.number >= 1
        assert partition.offset > 0 and partition.length > 0
        assert partition.offset % SECTOR == partition.length % SECTOR == 0
        assert partition.label is None or (
            "\0" not in partition.label and len(partition.label) <= 36
        )
        assert partition.uuid is None or partition.uuid == partition.uuid.lower()
        if partition.label is not None and ranges:  # of a GPT whose primary table is right
            span = range(partition.offset, partition.offset + partition.length)
            assert span in ranges
    return bool(found)


def _with_checksums(head: bytes) -> bytes:
    """Put the checksums of a GPT in sector 1 right."""
    raw = bytearray(head.ljust(DISK, b"\0"))
    (length,) = struct.unpack_from("<I", raw, SECTOR + 12)
    entries_at, count, size = struct.unpack_from("<QII", raw, SECTOR + 72)
    if not 92 <= length <= SECTOR or count * size > DISK:
        return head
    entries = raw[entries_at * SECTOR :][: count * size]
    struct.pack_into("<I", raw, SECTOR + 88, zlib.crc32(entries))
    struct.pack_into("<I", raw, SECTOR + 16, 0)
    struct.pack_into("<I", raw, SECTOR + 16, zlib.crc32(raw[SECTOR : SECTOR + length]))
    return bytes(raw)

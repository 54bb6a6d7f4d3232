# SPDX-License-Identifier: Apache-2.0
"""Any device is refused, or takes a change, which a cut within any bucket leaves whole.

A byte says which of the buckets have their checksums put right; the rest is the device.
"""

from __future__ import annotations

import struct
import zlib
from functools import partial
from pathlib import Path
from unittest import mock

from boot.barebox_state import BUCKETS, Layout, State, read_state, write_state
from boot.errors import EnvironmentInvalid
from tests.fuzz.memory_file import memory_file

LONGEST = 1 + 64 * BUCKETS
LAYOUT = Layout(magic=0, stride=64, variables={"A.priority": 0, "B.priority": 4})


def fuzz(data: bytes) -> bool:
    mode, device = data[0] if data else 0, data[1:]
    buckets = [device[at : at + LAYOUT.stride] for at in range(0, len(device), LAYOUT.stride)]
    device = b"".join(
        bucket if mode >> number & 1 else _with_checksums(bucket)
        for number, bucket in enumerate(buckets)
    )
    try:
        old = _read(device)
    except EnvironmentInvalid:
        return False
    assert len(old.data) >= 8
    wanted = bytes(4) + old.data[4:]
    states = [bytearray(device)]
    with mock.patch("boot.barebox_state.overwrite", partial(_written, states)):
        write_state(Path("device"), 0, LAYOUT, old, wanted)
    after = _read(bytes(states[-1]))
    assert after.data == wanted and after.different == () and after.warnings == ()
    for state in states:
        assert _read(bytes(state)).data in (old.data, wanted)
    return True


def _written(states: list[bytearray], path: Path, offset: int, data: bytes) -> None:
    """Note the device in the middle of one more write, and after it."""
    for length in (len(data) // 2, len(data)):
        after = bytearray(states[-1].ljust(offset + length, b"\0"))
        after[offset : offset + length] = data[:length]
        states.append(after)


def _read(device: bytes) -> State:
    with memory_file(device) as path:
        return read_state(path, 0, LAYOUT)


def _with_checksums(bucket: bytes) -> bytes:
    """Put both checksums of a record right; the bucket's header tells where it begins."""
    start = 8 if bucket[:4] == b"\xf3\xfd\x54\x23" else 0
    if len(bucket) < start + 16:
        return bucket
    (length,) = struct.unpack_from("=H", bucket, start + 6)
    data = bucket[start + 16 :][:length]
    head = bucket[start : start + 8] + struct.pack("=I", zlib.crc32(data))
    checked = head + struct.pack("=I", zlib.crc32(head))
    return bucket[:start] + checked + bucket[start + 16 :]

# SPDX-License-Identifier: Apache-2.0
"""barebox's state: one record, three times over, with checksums; the layout is in the device tree.

    bucket n at offset + n * stride:   u32 0x2354fdf3 │ u32 length │ record
    record:   u32 magic │ u16 0 │ u16 data length │ u32 CRC of data │ u32 CRC of the 12 bytes before
              │ data: the variables at the offsets that the device tree gives them

In the machine's own byte order. Sources: barebox common/state/backend_bucket_direct.c,
backend_format_raw.c (both checksums), backend_storage.c (three buckets; the first valid one counts)
and state.c (the device tree node). Not here: circular buckets (raw flash) and records with an HMAC,
whose key we do not have.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from boot.errors import BootSettingInvalid, EnvironmentInvalid
from boot.storage import overwrite, read_at

BUCKETS = 3
BUCKET_MAGIC = 0x2354FDF3
BUCKET_HEADER = struct.Struct("=II")
RECORD_HEADER = struct.Struct("=IHHII")
CHECKED = 12
STRIDE_LIMIT = 1 << 20
DEVICE_TREE = Path("/proc/device-tree")


@dataclass(frozen=True, slots=True)
class Layout:
    """What a state node says.

    Attributes:
        magic: of every record; 0: any.
        stride: bytes from one bucket to the next.
        variables: offsets of the u32 variables within the data, by dotted name.
    """

    magic: int
    stride: int
    variables: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class State:
    """One reading: the data, whether every bucket holds just that, and what is damaged."""

    data: bytes
    magic: int
    header: bool
    different: tuple[int, ...]
    warnings: tuple[str, ...]


def layout_of(device_tree: Path = DEVICE_TREE, alias: str = "state") -> Layout:
    """Read the layout from the running system's device tree.

    Raises:
        BootloaderMissing: no such alias, or no such node.
        BootSettingInvalid: a kind of state that is not supported.
    """
    path = (
        read_at(device_tree / "aliases" / alias, 0, 4096).rstrip(b"\0").decode("ascii", "replace")
    )
    node = device_tree / path.lstrip("/")
    backend = _text(node / "backend-type")
    storage = _text(node / "backend-storage-type") or "direct"
    if backend != "raw" or storage != "direct" or (node / "algo").exists():
        raise BootSettingInvalid(
            f"{path}: state of type {backend!r}, {storage!r}: only raw, direct, without HMAC"
        )
    return Layout(
        magic=_u32(node / "magic")[0],
        stride=_u32(node / "backend-stridesize")[0],
        variables=dict(_variables(node, "")),
    )


def read_state(device: Path, offset: int, layout: Layout) -> State:
    """Read the first valid bucket, as barebox does.

    Raises:
        EnvironmentInvalid: none is valid.
        BootloaderMissing, EnvironmentFault: the device cannot be read.
    """
    if not BUCKET_HEADER.size + RECORD_HEADER.size <= layout.stride <= STRIDE_LIMIT:
        raise BootSettingInvalid(f"a stride of {layout.stride} bytes")
    found = [
        _bucket(read_at(device, offset + number * layout.stride, layout.stride), layout)
        for number in range(BUCKETS)
    ]
    chosen = next((bucket for bucket in found if bucket is not None), None)
    if chosen is None:
        raise EnvironmentInvalid(f"{device}: no bucket of barebox's state is valid")
    data, magic, header = chosen
    if any(at < 0 or at + 4 > len(data) for at in layout.variables.values()):
        raise EnvironmentInvalid(f"{device}: barebox's state is shorter than its layout")
    return State(
        data=data,
        magic=magic,
        header=header,
        different=tuple(number for number, bucket in enumerate(found) if bucket != chosen),
        warnings=tuple(
            f"bucket {number} of barebox's state ({device}) is torn; another one is in force"
            for number, bucket in enumerate(found)
            if bucket is None
        ),
    )


def write_state(device: Path, offset: int, layout: Layout, state: State, data: bytes) -> None:
    """Write changed data to all buckets, in order.

    Raises:
        EnvironmentFault: it cannot be written.
    """
    # First all buckets are made equal to the one in force. Else a cut while the first is written
    # could uncover a later one that is older than the state before.
    for number in state.different:
        overwrite(device, offset + number * layout.stride, _pack(state, state.data))
    for number in range(BUCKETS):
        overwrite(device, offset + number * layout.stride, _pack(state, data))


def _bucket(raw: bytes, layout: Layout) -> tuple[bytes, int, bool] | None:
    """Return data, magic and whether there is a bucket header; None if it is not valid."""
    if len(raw) < BUCKET_HEADER.size:
        return None
    bucket_magic, bucket_length = BUCKET_HEADER.unpack_from(raw)
    # A barebox of old wrote no such header.
    header = bucket_magic == BUCKET_MAGIC
    record = raw[BUCKET_HEADER.size :][:bucket_length] if header else raw
    if len(record) < max(RECORD_HEADER.size, bucket_length if header else 0):
        return None
    magic, _, length, data_crc, header_crc = RECORD_HEADER.unpack_from(record)
    data = record[RECORD_HEADER.size : RECORD_HEADER.size + length]
    if zlib.crc32(record[:CHECKED]) != header_crc or (layout.magic and magic != layout.magic):
        return None
    if len(data) != length or zlib.crc32(data) != data_crc:
        return None
    return data, magic, header


def _pack(state: State, data: bytes) -> bytes:
    head = struct.pack("=IHHI", state.magic, 0, len(data), zlib.crc32(data))
    record = head + struct.pack("=I", zlib.crc32(head)) + data
    # It fits the stride: data of this length was read from one, behind the same header.
    return (BUCKET_HEADER.pack(BUCKET_MAGIC, len(record)) if state.header else b"") + record


def _variables(node: Path, prefix: str) -> Iterator[tuple[str, int]]:
    """Yield the u32 variables below a node; `name@8` in `bootstate` is `bootstate.name`."""
    for child in sorted(node.iterdir()):
        if not child.is_dir():
            continue
        name = prefix + child.name.partition("@")[0]
        if _text(child / "type") == "uint32":
            start, size = (*_u32(child / "reg"), 0, 0)[:2]
            if size == 4:
                yield name, start
        yield from _variables(child, f"{name}.")


def _text(path: Path) -> str:
    return read_at(path, 0, 256).rstrip(b"\0").decode("ascii", "replace") if path.exists() else ""


def _u32(path: Path) -> tuple[int, ...]:
    raw = read_at(path, 0, 64)
    if len(raw) < 4 or len(raw) % 4:
        raise BootSettingInvalid(f"{path}: {len(raw)} bytes are no cells")
    return struct.unpack(f">{len(raw) // 4}I", raw)

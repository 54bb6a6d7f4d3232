# SPDX-License-Identifier: Apache-2.0
"""ISO 9660, with or without Joliet, El Torito and isohybrid.

Source: ECMA-119, section 8.4 (primary volume descriptor in sector 16) and 8.5 (supplementary);
Joliet specification, section "SVD escape sequences". Numbers are recorded in both byte orders.
"""

from __future__ import annotations

import struct

from fsprobe import gpt
from fsprobe.device import Device
from fsprobe.errors import ProbeError
from fsprobe.superblock import Superblock
from fsprobe.text import label_of

MAGIC = b"CD001"
SECTOR = 2048
FIRST_DESCRIPTOR = 16
DESCRIPTOR_LIMIT = 16
PRIMARY, SUPPLEMENTARY, TERMINATOR = 1, 2, 255
JOLIET_ESCAPES = (b"%/@", b"%/C", b"%/E")
MBR_TABLE = 446


def probe(device: Device) -> Superblock | None:
    """Length: volume space size times block size, or more where a partition table says so.

    An isohybrid image may carry partitions after the volume (an EFI system partition, a GPT backup
    header); they are content, so the larger end counts, as far as the device reaches.

    Raises:
        ProbeError: no primary descriptor, or its two byte orders differ.
    """
    primary = joliet = None
    for number in range(DESCRIPTOR_LIMIT):
        raw = device.read((FIRST_DESCRIPTOR + number) * SECTOR, SECTOR)
        if len(raw) < SECTOR or raw[1:6] != MAGIC or raw[0] == TERMINATOR:
            break
        if raw[0] == PRIMARY and primary is None:
            primary = raw
        elif raw[0] == SUPPLEMENTARY and joliet is None and raw[88:91] in JOLIET_ESCAPES:
            joliet = raw
    if primary is None:
        return None
    block_size = _both_orders("<H", ">H", primary, 128)
    blocks = _both_orders("<I", ">I", primary, 80)
    if block_size not in (512, 1024, 2048) or blocks == 0:
        raise ProbeError("corrupt", "iso9660", f"{blocks} blocks of {block_size} bytes")
    return Superblock(
        kind="iso9660",
        length=max(blocks * block_size, _end_of_partitions(device)),
        block_size=block_size,
        label=_label(primary, joliet),
        uuid=_date(primary[830:847]) or _date(primary[813:830]),
        version="Joliet Extension" if joliet else None,
    )


def _both_orders(little: str, big: str, raw: bytes, at: int) -> int:
    """Read a number that is recorded in both byte orders."""
    value: int
    other: int
    (value,) = struct.unpack_from(little, raw, at)
    (other,) = struct.unpack_from(big, raw, at + struct.calcsize(little))
    if value != other:
        raise ProbeError("corrupt", "iso9660", f"the byte orders differ: {value} and {other}")
    return value


def _end_of_partitions(device: Device) -> int:
    """Return where the last partition of an isohybrid image ends, in bytes; 0 if there is none.

    The entries overlap the volume and each other by design, so only the ends are looked at, and
    one beyond the device counts for nothing: isohybrid rounds up to whole cylinders.
    """
    ends = [0]
    sector = device.read(0, 512)
    if sector[510:512] == b"\x55\xaa":
        for at in range(MBR_TABLE, 510, 16):
            start, count = struct.unpack_from("<II", sector, at + 8)
            if sector[at] in (0x00, 0x80) and count:
                ends.append((start + count) * 512)
    try:
        table = gpt.probe(device)
    except ProbeError:
        table = None
    if table is not None and table.length is not None:
        ends.append(table.length)
    return max(end for end in ends if end <= device.length)


def _label(primary: bytes, joliet: bytes | None) -> str | None:
    """Prefer the Joliet label, unless it is the primary one cut to 16 characters (blkid's rule)."""
    plain = label_of(primary[40:72], "latin-1")
    if joliet is None:
        return plain
    wide = label_of(joliet[40:72], "utf-16-be")
    return plain if wide is None or (plain or "")[:16].rstrip() == wide else wide


def _date(raw: bytes) -> str | None:
    """Format a volume date as blkid does for its UUID; None when it is not set."""
    text = raw[:16].decode("ascii", "replace")
    if not text.isdecimal() or not text.isascii() or (int(text) == 0 and raw[16] == 0):
        return None
    return "-".join([text[:4], *(text[at : at + 2] for at in range(4, 16, 2))])

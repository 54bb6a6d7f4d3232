# SPDX-License-Identifier: Apache-2.0
"""Encrypted containers: LUKS1, LUKS2 and BitLocker.

Source: LUKS1 On-Disk Format Specification 1.2.3, figure 1; LUKS2 On-Disk Format Specification
1.1.3, sections 2.1 (binary header) and 3.3 (segments); libyal, "BitLocker Drive Encryption (BDE)
format".
"""

from __future__ import annotations

import hashlib
import json
import struct

from fsprobe.device import Device
from fsprobe.errors import ProbeError
from fsprobe.superblock import Superblock
from fsprobe.text import label_of

MAGIC = b"LUKS\xba\xbe"
HEADER_SIZES = {16384 << n for n in range(9)}  # section 2.1: 16 KiB to 4 MiB
HEADER_LIMIT = 1 << 20
"""Bytes of header that are read and checked; cryptsetup makes 16 KiB unless asked for more."""
CHECKSUM_AT, CHECKSUM_LENGTH = 448, 64
DIGESTS = ("sha1", "sha224", "sha256", "sha384", "sha512")

BITLOCKER_VISTA = b"\xeb\x52\x90-FVE-FS-"
BITLOCKER_7 = b"\xeb\x58\x90-FVE-FS-"
BITLOCKER_TO_GO = b"\xeb\x58\x90MSWIN4.1"


def probe(device: Device) -> Superblock | None:
    """LUKS. Length: the end of the last segment, where LUKS2 fixes it; else None.

    LUKS1 and "dynamic" segments of LUKS2, the usual ones, reach to the end of the device.

    Raises:
        ProbeError: unknown version, wrong header checksum or metadata that cannot be read.
    """
    raw = device.read(0, 4096)
    if len(raw) < 592 or raw[:6] != MAGIC:
        return None
    version = int.from_bytes(raw[6:8], "big")
    uuid = label_of(raw[168:208], "ascii")
    if version == 1:
        (payload,) = struct.unpack_from(">I", raw, 104)
        if payload * 512 > device.length:
            raise ProbeError("truncated", "crypto_LUKS", f"payload in sector {payload}")
        return Superblock(kind="crypto_LUKS", length=None, uuid=uuid, version="1")
    if version != 2:
        raise ProbeError("corrupt", "crypto_LUKS", f"version {version}")
    metadata = _metadata(device, raw)
    block_size, length = _segments(metadata) if metadata is not None else (None, None)
    return Superblock(
        kind="crypto_LUKS",
        length=length,
        block_size=block_size,
        label=label_of(raw[24:72]),
        uuid=uuid,
        version="2",
    )


def _metadata(device: Device, raw: bytes) -> bytes | None:
    """Return the JSON area of a LUKS2 header, after its checksum was found right.

    None when the header is longer than `HEADER_LIMIT`.
    """
    (size,) = struct.unpack_from(">Q", raw, 8)
    if size not in HEADER_SIZES:
        raise ProbeError("corrupt", "crypto_LUKS", f"header of {size} bytes")
    if device.length < size:
        raise ProbeError("truncated", "crypto_LUKS", f"header of {size} bytes is cut short")
    if size > HEADER_LIMIT:
        return None
    area = device.read(0, size)
    name = label_of(raw[72:104], "ascii") or ""
    if name not in DIGESTS:
        raise ProbeError("corrupt", "crypto_LUKS", "unknown checksum")
    end = CHECKSUM_AT + CHECKSUM_LENGTH
    digest = hashlib.new(name, area[:CHECKSUM_AT] + bytes(CHECKSUM_LENGTH) + area[end:]).digest()
    if not area[CHECKSUM_AT:end].startswith(digest):
        raise ProbeError("corrupt", "crypto_LUKS", "the header checksum is wrong")
    return area[4096:].split(b"\0", 1)[0]


def _segments(text: bytes) -> tuple[int | None, int | None]:
    """Return the sector size and the end of the last segment, where it is fixed."""
    block_size, end = None, 0
    try:
        for segment in json.loads(text)["segments"].values():
            block_size = int(segment.get("sector_size", 512))
            if segment["size"] == "dynamic":
                return block_size, None
            end = max(end, int(segment["offset"]) + int(segment["size"]))
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError):
        raise ProbeError("corrupt", "crypto_LUKS", "the metadata cannot be read") from None
    return block_size, end or None


def probe_bitlocker(device: Device) -> Superblock | None:
    """BitLocker. The length is in the encrypted part, so None."""
    raw = device.read(0, 512)
    if len(raw) < 512 or not raw.startswith((BITLOCKER_VISTA, BITLOCKER_7, BITLOCKER_TO_GO)):
        return None
    version = None
    if not raw.startswith(BITLOCKER_VISTA):
        (metadata,) = struct.unpack_from("<Q", raw, 176 if raw.startswith(BITLOCKER_7) else 440)
        block = device.read(metadata, 12)
        if metadata == 0 or len(block) < 12 or block[:8] != b"-FVE-FS-":
            return None
        version = str(int.from_bytes(block[10:12], "little"))
    return Superblock(kind="BitLocker", length=None, version=version)

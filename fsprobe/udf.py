# SPDX-License-Identifier: Apache-2.0
"""UDF.

Source: ECMA-167 part 2, section 9.1 (volume structure descriptors from byte 32768), part 3, section
7.2 (tag), 10.1 (primary), 10.2 (anchor), 10.5 (partition), 10.6 (logical), 10.10 (integrity);
OSTA UDF 2.60, section 2.2.3 (anchor in block 256 and in the last one) and 2.2.6.4 (revisions).
"""

from __future__ import annotations

import struct
from binascii import crc_hqx
from dataclasses import dataclass

from fsprobe import iso9660
from fsprobe.device import Device
from fsprobe.errors import ProbeError
from fsprobe.superblock import Superblock
from fsprobe.text import label_of

RECOGNITION = 32768
RECOGNITION_LIMIT = 64
RECOGNISED = (b"BEA01", b"BOOT2", b"CD001", b"CDW02", b"TEA01")
NAMESPACE = (b"NSR02", b"NSR03")
BLOCK_SIZES = (512, 1024, 2048, 4096)
PRIMARY, ANCHOR, PARTITION, LOGICAL, TERMINATOR, INTEGRITY = 1, 2, 5, 6, 8, 9
DESCRIPTOR_LIMIT = 64
LAST_ANCHOR_WITHIN = 512
"""Blocks after the last extent where the closing anchor is looked for; mkudffs leaves up to 160."""
DOMAIN = b"*OSTA UDF Compliant"


@dataclass(slots=True)
class _Volume:
    """What a volume descriptor sequence told. `end` is the first block after all extents."""

    end: int = 0
    label: str | None = None
    uuid: str | None = None
    revision: int = 0
    has_partition: bool = False


def probe(device: Device) -> Superblock | None:
    """Length: through the closing anchor, or to the end of the last extent where there is none.

    The volume's own length is not recorded. Partition, descriptor sequences and integrity sequence
    are; the anchor in the last block follows them closely. Where ISO 9660 is there as well
    (bridge), the larger of the two counts.

    Raises:
        ProbeError: announced as UDF, but without an anchor or a partition.
    """
    if not _is_announced(device):
        return None
    block_size, anchor = _find_anchor(device)
    main_length, main, reserve_length, reserve = struct.unpack_from("<IIII", anchor, 16)
    volume = _sequence(device, block_size, main, main_length)
    if not volume.has_partition:
        volume = _sequence(device, block_size, reserve, reserve_length)
    if not volume.has_partition:
        raise ProbeError("corrupt", "udf", "no partition descriptor")
    blocks = max(
        volume.end,
        257,
        main + -(-main_length // block_size),
        reserve + -(-reserve_length // block_size),
    )
    for block in range(blocks, blocks + LAST_ANCHOR_WITHIN):
        if _descriptor(device, block_size, block, ANCHOR) is not None:
            blocks = block + 1
            break
    bridge = iso9660.probe(device)
    beside = bridge.length if bridge is not None and bridge.length is not None else 0
    return Superblock(
        kind="udf",
        length=max(blocks * block_size, beside),
        block_size=block_size,
        label=volume.label,
        uuid=volume.uuid,
        version=f"{volume.revision >> 8:x}.{volume.revision & 0xFF:02x}"
        if volume.revision
        else None,
    )


def _is_announced(device: Device) -> bool:
    """Tell whether the volume recognition sequence names UDF; its steps are 2048 or 4096 bytes."""
    for step in (2048, 4096):
        for number in range(RECOGNITION_LIMIT):
            identifier = device.read(RECOGNITION + number * step + 1, 5)
            if identifier in NAMESPACE:
                return True
            if identifier not in RECOGNISED:
                break
    return False


def _find_anchor(device: Device) -> tuple[int, bytes]:
    for block_size in BLOCK_SIZES:
        last = device.length // block_size - 1
        for block in (256, 512, last, last - 256):
            anchor = _descriptor(device, block_size, block, ANCHOR)
            if anchor is not None:
                return block_size, anchor
    raise ProbeError("corrupt", "udf", "no anchor volume descriptor pointer")


def _descriptor(device: Device, block_size: int, block: int, wanted: int = 0) -> bytes | None:
    """Return a block whose tag, place and checksum are right; None otherwise."""
    tag = device.read(block * block_size, 16)
    if len(tag) < 16:
        return None
    kind, _, checksum, _, _, crc, crc_length, location = struct.unpack("<HHBBHHHI", tag)
    if location != block or (wanted and kind != wanted) or kind == 0:
        return None
    raw = device.read(block * block_size, max(512, min(16 + crc_length, block_size)))
    if sum(tag[:4] + tag[5:]) & 0xFF != checksum or crc_hqx(raw[16 : 16 + crc_length], 0) != crc:
        return None
    return raw if len(raw) >= 512 else None


def _sequence(device: Device, block_size: int, first: int, length: int) -> _Volume:
    volume = _Volume()
    for block in range(first, first + min(length // block_size, DESCRIPTOR_LIMIT)):
        raw = _descriptor(device, block_size, block)
        kind = int.from_bytes(raw[:2], "little") if raw else TERMINATOR
        if raw is None or kind == TERMINATOR:
            break
        if kind == PRIMARY and volume.uuid is None:
            volume.uuid = _uuid(_characters(raw[72:200]))
        elif kind == PARTITION:
            start, count = struct.unpack_from("<II", raw, 188)
            volume.end = max(volume.end, start + count)
            volume.has_partition = True
        elif kind == LOGICAL and volume.label is None:
            (recorded,) = struct.unpack_from("<I", raw, 212)
            if recorded != block_size:
                raise ProbeError("corrupt", "udf", f"blocks of {recorded} and {block_size} bytes")
            volume.label = label_of((_characters(raw[84:212]) or "").encode())
            if raw[217:240].rstrip(b"\0") == DOMAIN:
                (volume.revision,) = struct.unpack_from("<H", raw, 240)
            integrity_length, integrity = struct.unpack_from("<II", raw, 432)
            volume.end = max(volume.end, integrity + -(-integrity_length // block_size))
            volume.revision = _revision(device, block_size, integrity) or volume.revision
    return volume


def _revision(device: Device, block_size: int, block: int) -> int:
    """Return the lowest UDF revision that may read the volume; 0 when it is not recorded."""
    raw = _descriptor(device, block_size, block, INTEGRITY)
    if raw is None:
        return 0
    partitions, use = struct.unpack_from("<II", raw, 72)
    at = 80 + 8 * partitions + 40
    return int.from_bytes(raw[at : at + 2], "little") if use >= 46 else 0


def _characters(raw: bytes) -> str | None:
    """Decode a dstring: compression id, characters, and in the last byte the count used."""
    used = raw[1 : max(raw[-1], 1)]
    if raw[0] == 8:
        return used.decode("latin-1")
    return used.decode("utf-16-be", "replace") if raw[0] == 16 else None


def _uuid(volume_set: str | None) -> str | None:
    """Make 16 hexadecimal digits of the first 16 characters, as blkid does (libblkid, udf.c).

    Characters that are not digits are written as the codes of their bytes instead.
    """
    first = (volume_set or "").encode()[:16]
    if len(first) < 8:
        return None
    first = first.ljust(16, b"\0")
    digits = len(first) - len(first.lstrip(b"0123456789abcdefABCDEF"))
    if digits < 8:
        return first[:8].hex()
    text = first.decode("latin-1").lower()
    return text if digits == 16 else text[:8] + first[8:12].hex()

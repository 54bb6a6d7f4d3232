# SPDX-License-Identifier: Apache-2.0
"""Swap areas, and the hibernation images in them (`swsuspend`).

Source: linux/include/linux/swap.h, union swap_header: signature in the last 10 bytes of the first
page, fields at byte 1024. The page size is that of the machine that made it. SWAPSPACE2 carries
fields (version 1); SWAP-SPACE (version 0, until Linux 2.4) a bitmap of pages instead.
"""

from __future__ import annotations

import struct

from fsprobe.device import Device
from fsprobe.errors import ProbeError
from fsprobe.superblock import Superblock
from fsprobe.text import label_of, uuid_of

PAGE_SIZES = (4 << 10, 8 << 10, 16 << 10, 32 << 10, 64 << 10)
FIELDS = 1024
FIELDS_END = 1536  # after 117 words of padding begins the list of bad pages
SUSPENDED = (b"S1SUSPEND\0", b"S2SUSPEND\0", b"ULSUSPEND\0", b"LINHIB0001")


def probe(device: Device) -> Superblock | None:
    """Length: (last_page + 1) pages. Version 0 has no such field: None."""
    for page_size in PAGE_SIZES:
        signature = device.read(page_size - 10, 10)
        if signature == b"SWAP-SPACE":
            return Superblock("swap", None, page_size, version="0", weak=True)
        if signature == b"SWAPSPACE2" or signature in SUSPENDED:
            kind = "swap" if signature == b"SWAPSPACE2" else "swsuspend"
            return _parse(device.read(FIELDS, 44), kind, page_size)
    return None


def _parse(raw: bytes, kind: str, page_size: int) -> Superblock:
    for order in "<>":
        version, last_page, bad_pages = struct.unpack_from(f"{order}III", raw)
        if version == 1:
            break
    else:
        raise ProbeError("corrupt", kind, "version is not 1")
    if last_page == 0 or bad_pages > (page_size - FIELDS_END - 10) // 4:
        raise ProbeError("corrupt", kind, f"last page {last_page}, {bad_pages} bad pages")
    return Superblock(
        kind=kind,
        length=(last_page + 1) * page_size,
        block_size=page_size,
        label=label_of(raw[28:44]),
        uuid=uuid_of(raw[12:28]),
        version="1",
    )

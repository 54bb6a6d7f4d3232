# SPDX-License-Identifier: Apache-2.0
"""Ask every format, and settle what more than one claims.

The rule, in this order:

1. A format answers with a `Superblock`, with a `ProbeError`, or not at all.
2. A claim on more bytes than the device has is refused (`probe.truncated`).
3. Whole beats broken: with one claim left, stale and broken signatures are ignored.
4. A `weak` claim (two-byte magic, backup copy) gives way to any other, broken ones included.
5. A partition table around an ISO 9660 image is a hybrid image, and an ISO 9660 bridge to UDF is
   one disc: both are `iso9660`, as long as the longer of the two.
6. A mirror member keeps its superblock behind the file system that it mirrors, so that both show:
   it is the member (`MIRRORS`).
7. Two whole claims left are `probe.ambiguous`. A checksum decides nothing here: it proves that a
   superblock was once written whole, not that it is the one in use.

blkid(8) does the same, save that it ignores broken superblocks and reports tables apart. What is
found may be followed by the hash tree of dm-verity, which then counts as part of it.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from fsprobe.device import BudgetExceeded, Device
from fsprobe.errors import ProbeError
from fsprobe.superblock import Superblock

MIRRORS = frozenset({"drbd", "linux_raid_member"})
"""Kinds whose superblock stands at the end of the device, behind what they mirror."""

AROUND_ISO = frozenset({"dos", "gpt", "PMBR", "udf"})
"""Kinds that legitimately share a device with ISO 9660."""


def probe(
    source: int | str | os.PathLike[str], start: int = 0, length: int | None = None
) -> Superblock | None:
    """Tell what a device or image file holds, or a region of one, such as a slot of a disk image.

    Args:
        source: an open descriptor, or a path.
        start: where the region begins, in bytes.
        length: bytes of the region, None for all from `start` on.

    Returns:
        None when no known magic is there.

    Raises:
        ProbeError: a magic is there, but what follows it cannot be believed.
        OSError: the source cannot be opened or read.
    """
    if isinstance(source, int):
        return _settle(source, start, length)
    # A FIFO must fail, not wait for its writer.
    fd = os.open(Path(source), os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        return _settle(fd, start, length)
    finally:
        os.close(fd)


def _settle(fd: int, start: int, length: int | None) -> Superblock | None:
    from fsprobe import formats, verity

    whole: list[Superblock] = []
    broken: list[ProbeError] = []
    for ask in formats.FORMATS:
        device = Device(fd, start, length)  # a budget for each format: none can starve the next
        try:
            found = ask(device)
            if found is not None:
                whole.append(_within(found, device))
        except BudgetExceeded:
            kind = ask.__module__.rpartition(".")[2]
            broken.append(ProbeError("corrupt", kind, "its fields ask for too many reads"))
        except ProbeError as error:
            broken.append(error)
    strong = [found for found in whole if not found.weak]
    if broken and not strong:
        # That a whole superblock is cut short says more than that another is garbage.
        raise min(broken, key=lambda error: error.code != "probe.truncated")
    if not whole:
        return None
    chosen = _one_of(strong or whole)
    if chosen.kind == "iso9660":
        around = [found.length or 0 for found in whole if found.kind in AROUND_ISO]
        chosen = replace(chosen, length=max(chosen.length or 0, *around, 0) or None)
    return verity.with_hash_tree(Device(fd, start, length), chosen)


def _within(found: Superblock, device: Device) -> Superblock:
    """Refuse a claim on bytes that the device does not have, or on none at all."""
    if found.length is not None and found.length <= 0:
        raise ProbeError("corrupt", found.kind, f"it claims {found.length} bytes")
    if found.length is not None and found.length > device.length:
        raise ProbeError(
            "truncated",
            found.kind,
            f"it is {found.length} bytes long, the device {device.length}",
        )
    return found


def _one_of(candidates: list[Superblock]) -> Superblock:
    """Return the only candidate, or the one that the others legitimately share a device with.

    Raises:
        ProbeError: two that exclude each other.
    """
    kinds = [found.kind for found in candidates]
    for found in candidates:
        others = [other for other in candidates if other is not found]
        if found.kind in MIRRORS and not MIRRORS.intersection(other.kind for other in others):
            return found
        if found.kind == "iso9660" and AROUND_ISO.issuperset(other.kind for other in others):
            return found
    if len(candidates) > 1:
        raise ProbeError("ambiguous", kinds[0], f"its superblock and that of {kinds[1]} are whole")
    return candidates[0]

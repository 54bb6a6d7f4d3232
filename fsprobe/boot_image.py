# SPDX-License-Identifier: Apache-2.0
"""U-Boot images: uImage, and FIT as a flattened device tree (which may also stand alone, `dtb`).

Source: u-boot include/image.h (struct legacy_img_hdr); Devicetree Specification 0.4, chapter 5;
u-boot doc/usage/fit/source_file_format.rst (`data-offset` counts from the end of the tree rounded
up to 4 bytes, `data-position` from its start). blkid knows neither.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field

from fsprobe.checksum import without
from fsprobe.device import Device
from fsprobe.errors import ProbeError
from fsprobe.superblock import Superblock
from fsprobe.text import label_of

UIMAGE_MAGIC, UIMAGE_HEADER = b"\x27\x05\x19\x56", 64
TREE_MAGIC, TREE_HEADER = b"\xd0\x0d\xfe\xed", 40
TREE_VERSIONS = range(16, 18)
BEGIN_NODE, END_NODE, PROPERTY, NOP, END = 1, 2, 3, 4, 9
TOKEN_LIMIT = 65536
WINDOW = 4096
TOKEN_REACH = 268  # bytes of one token that are looked at
STRINGS_LIMIT = 65536
EXTERNAL = ("data-offset", "data-position", "data-size")


def probe_uimage(device: Device) -> Superblock | None:
    """Legacy image (uImage). Length: the header and the data.

    Raises:
        ProbeError: wrong header checksum.
    """
    raw = device.read(0, UIMAGE_HEADER)
    if len(raw) < UIMAGE_HEADER or raw[:4] != UIMAGE_MAGIC:
        return None
    if zlib.crc32(without(raw, 4, 4)) != int.from_bytes(raw[4:8], "big"):
        raise ProbeError("corrupt", "uimage", "the header checksum is wrong")
    return Superblock(
        kind="uimage",
        length=UIMAGE_HEADER + int.from_bytes(raw[12:16], "big"),
        label=label_of(raw[32:64]),
    )


@dataclass(slots=True)
class _Tree:
    """What the walk over a device tree found. `ends` are bytes from the tree's start."""

    description: str | None = None
    has_images: bool = False
    ends: list[int] = field(default_factory=list)


def probe_fit(device: Device) -> Superblock | None:
    """FIT, or a device tree by itself. Length: the tree, and data that a FIT keeps outside of it.

    Raises:
        ProbeError: header or tree out of range.
    """
    raw = device.read(0, TREE_HEADER)
    if len(raw) < TREE_HEADER or raw[:4] != TREE_MAGIC:
        return None
    total, nodes, strings, _, _, last_compatible, _, strings_size, nodes_size = struct.unpack_from(
        ">9I", raw, 4
    )
    version = int.from_bytes(raw[20:24], "big")
    if last_compatible not in TREE_VERSIONS or nodes < TREE_HEADER:
        raise ProbeError("corrupt", "fit", f"device tree of version {version}")
    if max(nodes + nodes_size, strings + strings_size) > total:
        raise ProbeError("corrupt", "fit", "a block passes the end of the tree")
    if total > device.length:
        raise ProbeError("truncated", "fit", f"it is {total} bytes long")
    names = device.read(strings, min(strings_size, STRINGS_LIMIT))
    tree = _walk(device, nodes, nodes + nodes_size, names, -(-total // 4) * 4)
    return Superblock(
        kind="fit" if tree.has_images else "dtb",
        length=max([total, *tree.ends]),
        label=tree.description,
        version=str(version),
    )


def _walk(device: Device, at: int, end: int, names: bytes, outside: int) -> _Tree:
    """Follow the tokens; data is stepped over, not read."""
    tree, depth, image = _Tree(), 0, dict.fromkeys(EXTERNAL, -1)
    window, window_at = b"", at
    for _ in range(TOKEN_LIMIT):
        if at + TOKEN_REACH > window_at + len(window):
            window, window_at = device.read(at, min(WINDOW, max(0, end - at))), at
        raw = window[at - window_at :][:TOKEN_REACH]
        token = int.from_bytes(raw[:4], "big") if len(raw) >= 4 else END
        at += 4
        if token == BEGIN_NODE:
            name = raw[4:].split(b"\0", 1)[0]
            at += len(name) // 4 * 4 + 4
            tree.has_images |= depth == 1 and name == b"images"
            depth += 1
            tree.ends.extend(_outside_end(image, outside))  # properties precede child nodes
            image = dict.fromkeys(EXTERNAL, -1)
        elif token == PROPERTY and len(raw) >= 12:
            size, name_at = struct.unpack_from(">II", raw, 4)
            key = names[name_at : name_at + 64].split(b"\0", 1)[0].decode("ascii", "replace")
            value = raw[12 : 12 + min(size, 256)]
            at += 8 + -(-size // 4) * 4
            if depth == 1 and key == "description":
                tree.description = label_of(value)
            elif key in EXTERNAL and size == 4:
                image[key] = int.from_bytes(value, "big")
        elif token == END_NODE:
            tree.ends.extend(_outside_end(image, outside))
            depth -= 1
            image = dict.fromkeys(EXTERNAL, -1)
        elif token != NOP:
            if token != END or depth != 0:
                raise ProbeError("corrupt", "fit", f"token {token} in the device tree")
            return tree
    raise ProbeError("corrupt", "fit", f"more than {TOKEN_LIMIT} tokens")


def _outside_end(image: dict[str, int], outside: int) -> list[int]:
    """Return where the external data of one image ends, if it has any."""
    if image["data-size"] < 0:
        return []
    if image["data-position"] >= 0:
        return [image["data-position"] + image["data-size"]]
    if image["data-offset"] >= 0:
        return [outside + image["data-offset"] + image["data-size"]]
    return []

# SPDX-License-Identifier: Apache-2.0
"""The one record that every probe answers with."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Superblock:
    """What a device holds.

    Attributes:
        kind: the name that blkid(8) gives, such as `ext4`, `squashfs`, `vfat`, `gpt`.
        length: bytes from the start of the device to the end of the content, never more than the
            device has; None where the format does not record it.
        block_size: bytes, None where the format has none.
        label: None when empty or not part of the format.
        uuid: as blkid prints it, None when the format has none or it is all zero.
        version: the format's own version, such as `1.0`, None where it has none.
        hash_tree_length: bytes from a dm-verity superblock that follows the file system to the
            end of its hash tree, 0 where there is none; `length` covers them.
        weak: a short magic, or a backup copy alone, which anything else on the device outranks.
    """

    kind: str
    length: int | None
    block_size: int | None = None
    label: str | None = None
    uuid: str | None = None
    version: str | None = None
    hash_tree_length: int = 0
    weak: bool = False

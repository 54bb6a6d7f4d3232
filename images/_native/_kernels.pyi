# SPDX-License-Identifier: Apache-2.0
"""Leaf kernels in C. Each checks lengths and alignment and raises ValueError when they are off."""

from collections.abc import Sequence

from typing_extensions import Buffer

def kernels() -> tuple[str, ...]:
    """Name the scan kernels that this CPU runs, best first; the last is `portable`."""

def digest_kernels() -> tuple[str, ...]:
    """Name those of `kernels()` that digest several pieces at once; there may be none."""

def digest_each(kernel: str, pieces: Sequence[Buffer], /) -> bytes:
    """Return the SHA-512/256 of each piece, 32 bytes each, in their order.

    The interpreter lock is released once for all of them.

    Args:
        kernel: one of `digest_kernels()`.
        pieces: a list of contiguous buffers of any lengths.
    """

def scan(kernel: str, data: Buffer, bits: Buffer, discriminator: int, /) -> None:
    """Find the candidate cuts of `data[48:]`; the interpreter lock is released.

    Args:
        kernel: one of `kernels()`.
        data: the 48 bytes before the scanned ones, then the scanned ones.
        bits: writable, 8-byte aligned, a 64-bit word for each 64 scanned bytes. Bit i % 64 of
            word i // 64 is set when a cut may follow `data[48 + i]`, else cleared.
        discriminator: the divisor of the cut test, 1 to 2**32 - 1.
    """

def cuts_at(hash: int, discriminator: int, /) -> bool:
    """Tell whether the portable kernel's cut test passes for one hash value."""

def find_bit(bits: Buffer, start: int, stop: int, /) -> int:
    """Return the number of the first set bit in `start..stop-1`, or `stop`."""

def is_zero(data: Buffer, /) -> bool:
    """Tell whether every byte is zero; the interpreter lock is released if the first ones are."""

def find_block(
    old: Buffer, new: Buffer, lead: int, block: int, start: int, differs: bool, /
) -> int:
    """Return the start of the first block in which two buffers differ, or are equal.

    The interpreter lock is released where the buffers are long.

    Args:
        old: one buffer.
        new: another of the same length.
        lead: bytes of the first block.
        block: bytes of all others but the last.
        start: where a block begins; earlier ones are passed over.
        differs: look for one that differs, else for one that is equal.

    Returns:
        The length of the buffers when there is none.
    """

def first_bad_item(items: Buffer, maximum: int, /) -> int:
    """Return the first 40-byte index item out of order or longer than `maximum`, else the count."""

def item_at(items: Buffer, offset: int, /) -> int:
    """Return the first 40-byte index item that ends after `offset`, else the count.

    The items must be in order (`first_bad_item`). `offset` is taken modulo 2**64.
    """

def table_fill(items: Buffer, table: Buffer, key: Buffer, /) -> int:
    """Hash the ids of index items into `table` and return how many are distinct.

    Args:
        items: packed index items, 40 bytes each.
        table: writable u32 array, its length a power of two above the number of items.
        key: 16 secret bytes, so that no index can be made to collide.
    """

def table_find(items: Buffer, table: Buffer, key: Buffer, id: Buffer, /) -> int:
    """Return the number of the first item with this 32-byte id, or -1."""

# SPDX-License-Identifier: Apache-2.0
"""Stores made by Debian's casync, and data to put into stores."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

from images.index import Index
from images.stores.protocol import ChunkRef


def casync(*arguments: str | Path) -> str:
    """Run casync and return its standard output."""
    result = subprocess.run(
        ["casync", *map(str, arguments)], capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def blob(seed: str, length: int) -> bytes:
    """Return bytes that depend on the seed; half of them compress well."""
    half = hashlib.shake_128(seed.encode()).digest(length - length // 2)
    return half + (seed.encode() * length)[: length // 2]


def make(folder: Path, data: bytes, *options: str) -> tuple[Path, Path]:
    """Let casync chop data; return the paths of index and store."""
    folder.mkdir(parents=True, exist_ok=True)
    image, index, store = folder / "image", folder / "image.caibx", folder / "store.castr"
    image.write_bytes(data)
    casync("make", f"--store={store}", *options, index, image)
    return index, store


def refs(index: Index) -> list[ChunkRef]:
    """Return what a store is asked for to get all of an index."""
    return [
        ChunkRef(number, index.id(number), index.length(number)) for number in range(len(index))
    ]

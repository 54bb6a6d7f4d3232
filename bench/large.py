# SPDX-License-Identifier: Apache-2.0
"""Peak memory of caflip on an image of 16 GiB: is it constant in the size of the image?

The image is made of the used blocks of a real one, shuffled anew for every repetition. A chunk at
the default sizes spans several blocks, so there are some 200,000 distinct ones, of real content.
At most three files of that length exist at a time, mostly two, and a store of some 7 GiB.
"""

from __future__ import annotations

import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

from bench import images, measure
from bench.cases import CAFLIP, caflip
from bench.report import Result

LENGTH = 16 << 30
BLOCK = 16 << 10


def measure_memory(folder: Path, recipe: images.Recipe, length: int = LENGTH) -> list[Result]:
    """Make an index of the large image, then extract it beside a seed of which 1/8 differs."""
    source = images.build(recipe, images.V1, folder).image("ext4")
    scratch = folder / "large"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    try:
        old, new, store = scratch / "old", scratch / "new", scratch / "store"
        index = scratch / "new.caibx"
        write_shuffled(source, new, length, changed_every=8)
        making = measure.measure(caflip("make", f"--store={store}", str(index), str(new)))
        new.unlink()
        write_shuffled(source, old, length, changed_every=0)
        with new.open("wb") as slot:
            slot.truncate(length)
        os.sync()
        extract = caflip("extract", "--in-place", f"--store={store}", f"--seed={old}")
        extracting = measure.measure([*extract, str(index), str(new)])
    finally:
        shutil.rmtree(scratch)
    size = f"{length >> 30} GiB"
    return [
        Result("large-make", f"make an image of {size}", None, {CAFLIP: [making]}),
        Result("large-extract", f"extract {size}, 7/8 in the seed", None, {CAFLIP: [extracting]}),
    ]


def write_shuffled(source: Path, target: Path, length: int, changed_every: int) -> None:
    """Write `length` bytes of shuffled blocks of `source`.

    Each `changed_every`-th repetition is shuffled otherwise than with 0.
    """
    with source.open("rb") as file:
        blocks = [block for block in _blocks(file.fileno()) if block.count(0) < BLOCK]
    written, repetition = 0, 0
    with target.open("wb") as out:
        while written < length:
            repetition += 1
            changed = bool(changed_every) and repetition % changed_every == 0
            order = random.Random(repetition + 1_000_000 * changed)
            part = order.sample(blocks, len(blocks))[: (length - written) // BLOCK]
            out.writelines(part)
            written += len(part) * BLOCK


def _blocks(descriptor: int) -> Iterator[bytes]:
    offset = 0
    while block := os.pread(descriptor, BLOCK, offset):
        yield block
        offset += BLOCK

# SPDX-License-Identifier: Apache-2.0
"""The shuffled image: the wanted length, all repetitions distinct, a known part changed."""

from __future__ import annotations

import os
from pathlib import Path

from bench.large import BLOCK, write_shuffled


def test_repetitions_are_distinct_and_every_so_many_th_is_changed(tmp_path: Path) -> None:
    blocks = [os.urandom(BLOCK) for _ in range(30)]
    source = tmp_path / "source"
    source.write_bytes(b"".join(blocks) + bytes(10 * BLOCK))
    repetition = 30 * BLOCK
    old, new = tmp_path / "old", tmp_path / "new"
    write_shuffled(source, old, 4 * repetition, changed_every=0)
    write_shuffled(source, new, 4 * repetition, changed_every=2)
    parts = [
        [file.read_bytes()[at : at + repetition] for at in range(0, 4 * repetition, repetition)]
        for file in (old, new)
    ]
    assert len(set(parts[0])) == 4
    assert [a == b for a, b in zip(*parts, strict=True)] == [True, False, True, False]
    assert all(
        sorted(part[at : at + BLOCK] for at in range(0, repetition, BLOCK)) == sorted(blocks)
        for part in [*parts[0], *parts[1]]
    )

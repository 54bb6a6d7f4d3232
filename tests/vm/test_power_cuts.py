# SPDX-License-Identifier: Apache-2.0
"""Power cuts at random, on a disk with a volatile cache; see `powercut` for what has to hold."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.capabilities import require_tool
from tests.vm.fua import is_written_through
from tests.vm.powercut import power_cuts
from tests.vm.programs import run
from tests.vm.volatile_disk import BLOCK

CUTS = 10
"""In each of two runs, for two processors."""


@pytest.mark.vm
@pytest.mark.timeout(1500)
@pytest.mark.parametrize("seed", [1, 2])
def test_a_device_whose_power_fails_at_random_starts_whole_and_loses_no_progress(
    seed: int, tmp_path: Path
) -> None:
    cuts = power_cuts(CUTS, seed, tmp_path, print)
    assert len(cuts) == CUTS
    assert any(cut.loss.lost for cut in cuts)
    assert any(cut.doing.startswith("updating") for cut in cuts)


def test_the_superblocks_of_ext4_and_its_journal_and_no_other_block_go_through(
    tmp_path: Path,
) -> None:
    require_tool("mkfs.ext4", "debugfs")
    image = tmp_path / "image"
    image.write_bytes(bytes(16 << 20))
    run("mkfs.ext4", "-q", "-b", str(BLOCK), image)
    journal = int(run("debugfs", "-R", "bmap <8> 0", image))
    content = image.read_bytes()
    blocks = [content[at : at + BLOCK] for at in range(0, len(content), BLOCK)]
    through = [number for number, block in enumerate(blocks) if is_written_through(block)]
    assert through == [0, journal]


def test_a_commit_block_goes_through_and_a_descriptor_does_not() -> None:
    commit = bytes.fromhex("c03b39980000000200000002")  # as a guest wrote it
    descriptor = bytes.fromhex("c03b39980000000100000002")
    assert is_written_through(commit.ljust(BLOCK, b"\0"))
    assert not is_written_through(descriptor.ljust(BLOCK, b"\0"))
    assert not is_written_through(commit.ljust(2 * BLOCK, b"\0"))

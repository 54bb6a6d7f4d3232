# SPDX-License-Identifier: Apache-2.0
"""Debian's casync and caflip on the same inputs: equal indexes, and each reads the other's."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from images import (
    Chain,
    ChunkSizes,
    Compression,
    Digest,
    Index,
    LocalStore,
    TargetSpec,
    extract,
    make,
    open_input,
)
from tests.capabilities import require_loop_devices, require_tool
from tests.loops import loop_device, run

pytestmark = pytest.mark.interop

MIB = 1 << 20
_NOISE = random.Random(3).randbytes(2 * MIB)

INPUTS = {
    "empty": b"",
    "one byte": b"x",
    "zeros": bytes(3 * MIB + 5),
    "mixed": _NOISE[:MIB] + bytes(700_000) + b"text " * 60_000 + _NOISE + _NOISE[:500_000],
}


def casync(*arguments: str | Path) -> str:
    """Run Debian's casync; it must succeed."""
    require_tool("casync")
    result = subprocess.run(
        ["casync", *map(str, arguments)], capture_output=True, text=True, timeout=120
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def our_make(source: Path, folder: Path, options: Sequence[str]) -> tuple[Index, str]:
    """Make with casync's options; return the index and the digest of the whole."""
    values = dict(option.removeprefix("--").split("=") for option in options)
    compression = Compression.parse(values.get("compression", "default"))
    with (
        LocalStore(folder / "ours.castr", compression).writer() as writer,
        open_input(source) as opened,
    ):
        made = make(
            opened,
            sizes=ChunkSizes.parse(values.get("chunk-size", "auto")),
            digest=Digest.parse(values.get("digest", "default")),
            writer=writer,
        )
    made.index.save(folder / "ours.caibx")
    return made.index, made.digest.hex()


def both_agree(source: Path, folder: Path, *options: str) -> None:
    """Make with both, compare, and let each extract what the other stored."""
    theirs = folder / "theirs.caibx"
    printed = casync("make", *options, f"--store={folder}/theirs.castr", theirs, source)
    index, digest = our_make(source, folder, options)
    assert (folder / "ours.caibx").read_bytes() == theirs.read_bytes()
    assert printed == digest + "\n"
    assert chunk_names(folder / "ours.castr") == chunk_names(folder / "theirs.castr")

    stores = Chain([LocalStore(folder / "theirs.castr")])
    extract(Index.load(theirs), TargetSpec(folder / "out"), seeds=[], stores=stores)
    casync("extract", f"--store={folder}/ours.castr", folder / "ours.caibx", folder / "their-out")
    length = index.blob_length
    run("cmp", f"--bytes={length}", source, folder / "out")
    run("cmp", f"--bytes={length}", source, folder / "their-out")
    assert (folder / "out").stat().st_size == length


def chunk_names(store: Path) -> set[str]:
    """The files in a store, by their names."""
    return {path.name for path in store.glob("*/*")}


@pytest.mark.parametrize("digest", ["sha512-256", "sha256"])
@pytest.mark.parametrize("compression", ["zstd", "xz", "gzip"])
@pytest.mark.parametrize("data", INPUTS.values(), ids=INPUTS)
def test_digests_and_compressions(
    tmp_path: Path, data: bytes, compression: str, digest: str
) -> None:
    (tmp_path / "input").write_bytes(data)
    both_agree(tmp_path / "input", tmp_path, f"--digest={digest}", f"--compression={compression}")


@pytest.mark.parametrize(
    "size",
    ["4K", "16K", "1M", "3M", "9M", "1K:4K:16K", "60K:64K:256K", "64K:64K:64K", "100:200:300"],
)
@pytest.mark.parametrize("name", ["zeros", "mixed"])
def test_chunk_sizes(tmp_path: Path, name: str, size: str) -> None:
    (tmp_path / "input").write_bytes(INPUTS[name][: 200_000 if size == "100:200:300" else None])
    both_agree(tmp_path / "input", tmp_path, f"--chunk-size={size}")


def test_a_sparse_gibibyte(tmp_path: Path) -> None:
    with (tmp_path / "input").open("wb") as file:
        file.write(_NOISE)
        file.truncate(1 << 30)
        file.seek(700 * MIB + 123)
        file.write(_NOISE)
    both_agree(tmp_path / "input", tmp_path)
    assert (tmp_path / "out").stat().st_blocks * 512 < 8 * MIB


@pytest.mark.root
@pytest.mark.parametrize(
    ("sector_size", "mkfs"),
    [
        (512, "mkfs.ext4 -q -d /etc/apt"),
        (4096, "mkfs.ext4 -q -d /etc/apt -b 4096"),
        (512, "mkfs.ext2 -q -b 1024"),
        (512, "mkfs.fat -F 16"),
        (512, "mkfs.fat -F 32 -s 1"),
        (4096, "mkfs.fat -S 4096"),
    ],
)
def test_a_device_ends_where_casync_says(tmp_path: Path, mkfs: str, sector_size: int) -> None:
    require_loop_devices()
    require_tool(mkfs.split()[0])
    image = tmp_path / "disk"
    with image.open("wb") as file:
        file.truncate(48 * MIB)
    run(*mkfs.split(), image)
    with image.open("ab") as file:
        file.write(_NOISE)
    with loop_device(image, sector_size) as device:
        both_agree(device, tmp_path)
    assert Index.load(tmp_path / "ours.caibx").blob_length == 48 * MIB


@pytest.mark.root
def test_a_squashfs_device_ends_where_casync_says(tmp_path: Path) -> None:
    require_loop_devices()
    require_tool("mksquashfs")
    image = tmp_path / "disk"
    run("mksquashfs", "/etc/apt", image, "-quiet", "-no-progress")
    length = image.stat().st_size
    with image.open("ab") as file:
        file.write(_NOISE)
    with loop_device(image) as device:
        both_agree(device, tmp_path)
    assert Index.load(tmp_path / "ours.caibx").blob_length == -(-length // 4096) * 4096

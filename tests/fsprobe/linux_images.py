# SPDX-License-Identifier: Apache-2.0
"""One small real image of each Linux file system, made by its own mkfs."""

from __future__ import annotations

import random
from pathlib import Path

from tests.fsprobe import crafted
from tests.fsprobe.programs import blank, run

MIB = 1 << 20

SMALL_XFS = {"TEST_DIR": "1", "TEST_DEV": "1", "QA_CHECK_FS": "1"}
"""What xfstests sets so that mkfs.xfs makes file systems of less than 300 MB."""

FORMATTED: dict[str, tuple[int, str]] = {
    "ext2": (1 * MIB, "mke2fs -q -F -t ext2 -L small"),
    "ext4": (8 * MIB, "mke2fs -q -F -t ext4 -L rootfs"),
    "jbd": (4 * MIB, "mke2fs -q -F -O journal_dev"),
    "btrfs": (20 * MIB, "mkfs.btrfs -q --mixed -L data"),
    "xfs": (32 * MIB, "mkfs.xfs -q -L data"),
    "xfs4": (32 * MIB, "mkfs.xfs -q -m crc=0"),
    "f2fs": (64 * MIB, "mkfs.f2fs -q -l data -O extra_attr,sb_checksum"),
    "minix": (1 * MIB, "mkfs.minix -3"),
    "swap": (1 * MIB, "mkswap -q -L swap"),
    "nilfs2": (136 * MIB, "mkfs.nilfs2 -q -L data"),
    "jfs": (16 * MIB, "mkfs.jfs -q -L data"),
}
"""Name, size of the device, and the command that the image's path is appended to."""

CRAFTED = {
    "bcachefs": crafted.bcachefs,
    "zonefs": crafted.zonefs,
    "swap_big_endian": crafted.swap_big_endian,
}
"""No Debian package makes these: written by hand from the kernel's headers."""

NAMES = (*FORMATTED, *CRAFTED, "squashfs", "erofs", "cramfs", "romfs", "verity", "hash_device")


def tree(folder: Path) -> Path:
    """Make a folder with something to pack into read-only images."""
    packed = folder / "tree"
    (packed / "etc").mkdir(parents=True)
    (packed / "etc/os-release").write_text("ID=test\n" * 1000)
    (packed / "noise").write_bytes(random.Random(1).randbytes(200_000))
    return packed


def build(folder: Path) -> dict[str, Path]:
    """Make all of `NAMES` in an empty folder."""
    images = {}
    for name, (length, command) in FORMATTED.items():
        images[name] = blank(folder / name, length)
        run(*command.split(), images[name], env=SMALL_XFS, stdin="y\n")
    for name, craft in CRAFTED.items():
        images[name] = folder / name
        images[name].write_bytes(craft())
    packed = tree(folder)
    for name in ("squashfs", "erofs", "cramfs", "romfs", "verity", "hash_device"):
        images[name] = folder / name
    run("mksquashfs", packed, images["squashfs"], "-quiet", "-no-progress")
    run("mkfs.erofs", images["erofs"], packed)
    run("mkfs.cramfs", packed, images["cramfs"])
    run("genromfs", "-f", images["romfs"], "-d", packed, "-V", "rom")
    images["verity"].write_bytes(images["squashfs"].read_bytes())
    append_hash_tree(images["verity"])
    run("veritysetup", "format", images["squashfs"], images["hash_device"])
    return images


def append_hash_tree(image: Path, *options: str) -> int:
    """Let veritysetup add its superblock and tree at the end of an image; return where."""
    length = image.stat().st_size
    run(
        "veritysetup",
        "format",
        f"--hash-offset={length}",
        f"--data-blocks={length // 4096}",
        *options,
        image,
        image,
    )
    return length

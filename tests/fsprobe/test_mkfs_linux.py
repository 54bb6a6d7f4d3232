# SPDX-License-Identifier: Apache-2.0
"""What every Linux mkfs of Debian makes, against what the file systems' own programs say."""

from __future__ import annotations

import os
import random
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from fsprobe import ProbeError, Superblock, probe
from tests.fsprobe import linux_images
from tests.fsprobe.linux_images import MIB, SMALL_XFS, append_hash_tree
from tests.fsprobe.programs import blank, blkid, numbers, run

Oracle = Callable[[Path], int]


def by_dumpe2fs(image: Path) -> int:
    blocks, size = numbers(run("dumpe2fs", "-h", image), "Block count:", "Block size:")
    return blocks * size


def by_btrfs(image: Path) -> int:
    text = run("btrfs", "inspect-internal", "dump-super", image)
    return numbers(text, "dev_item.total_bytes")[0]


def by_xfs_db(image: Path) -> int:
    text = run("xfs_db", "-r", "-f", "-c", "sb 0", "-c", "print dblocks blocksize", image)
    blocks, size = numbers(text, "dblocks =", "blocksize =")
    return blocks * size


def by_dump_f2fs(image: Path) -> int:
    text = run("dump.f2fs", "-d", "1", image)
    (sectors,) = numbers(text, "Info: total FS sectors =")
    return sectors * 512


def by_jfs_debugfs(image: Path) -> int:
    """The end of the inline log, which is the last thing on the device."""
    text = run("jfs_debugfs", image, stdin="su\nx\nq\n")
    size, length, address = (
        int(re.search(rf"{label}:\s*(\d+)", text)[1])  # type: ignore[index]
        for label in ("s_bsize", "s_logpxd.len", "s_logpxd.address")
    )
    return (address + length) * size


def by_fsck_minix(image: Path) -> int:
    text = run("fsck.minix", "-f", "-s", image)
    line = next(line for line in text.splitlines() if line.endswith(" blocks"))
    return int(line.split()[0]) * int(blkid(image)["BLOCK_SIZE"])


def by_unsquashfs(image: Path) -> int:
    """Exact bytes, which both casync and we round up to the padding of mksquashfs."""
    (size,) = numbers(run("unsquashfs", "-s", image), "Filesystem size")
    return -(-size // 4096) * 4096


def by_dump_erofs(image: Path) -> int:
    return numbers(run("dump.erofs", image), "Filesystem blocks:")[0] * 4096


def by_file_size(image: Path) -> int:
    """For those whose own programs tell no size: mkfs fills what it is given."""
    return image.stat().st_size


@dataclass(frozen=True, slots=True)
class Case:
    """An image of `length` bytes that `command` formats; the image's path is appended to it."""

    kind: str
    length: int
    command: str
    oracle: Oracle = by_file_size


FORMATTED = (
    Case("ext2", 360 << 10, "mke2fs -q -F -t ext2 -r 0", by_dumpe2fs),
    Case("ext2", 8 * MIB, "mke2fs -q -F -t ext2 -b 1024 -I 128 -L a_label_of_16_by", by_dumpe2fs),
    Case("ext3", 8 * MIB, "mke2fs -q -F -t ext3 -b 2048", by_dumpe2fs),
    Case("ext4", 64 * MIB, "mke2fs -q -F -t ext4 -b 4096 -L grün", by_dumpe2fs),
    Case("ext4", 9 * MIB + 12345, "mke2fs -q -F -t ext4 -b 1024", by_dumpe2fs),
    Case("ext4", 64 * MIB, "mke2fs -q -F -t ext4 -b 65536", by_dumpe2fs),
    Case("ext4", 64 * MIB, "mke2fs -q -F -t ext4 -b 1024 -O bigalloc,64bit", by_dumpe2fs),
    Case("ext4", 64 * MIB, "mke2fs -q -F -t ext4 -O ^metadata_csum,^64bit", by_dumpe2fs),
    Case("ext4", 64 * MIB, "mke2fs -q -F -t ext4 -O meta_bg,^resize_inode,metadata_csum_seed"),
    Case("jbd", 8 * MIB, "mke2fs -q -F -O journal_dev -b 4096 -L journal", by_dumpe2fs),
    Case("jbd", 8 * MIB, "mke2fs -q -F -O journal_dev,metadata_csum -b 1024", by_dumpe2fs),
    Case("btrfs", 120 * MIB, "mkfs.btrfs -q -L data", by_btrfs),
    Case("btrfs", 20 * MIB + 5000, "mkfs.btrfs -q --mixed --csum sha256", by_btrfs),
    Case("btrfs", 20 * MIB, "mkfs.btrfs -q --mixed --csum blake2", by_btrfs),
    Case("btrfs", 20 * MIB, "mkfs.btrfs -q --mixed --csum xxhash", by_btrfs),
    Case("btrfs", 120 * MIB, "mkfs.btrfs -q -n 65536 -s 65536", by_btrfs),
    Case("xfs", 32 * MIB, "mkfs.xfs -q -L data", by_xfs_db),
    Case("xfs", 40 * MIB + 777, "mkfs.xfs -q -b size=1024 -s size=1024", by_xfs_db),
    Case("xfs", 300 * MIB, "mkfs.xfs -q -b size=65536 -s size=4096 -i size=2048", by_xfs_db),
    Case("xfs", 32 * MIB, "mkfs.xfs -q -m crc=0 -b size=512", by_xfs_db),
    Case("f2fs", 64 * MIB, "mkfs.f2fs -q -l data", by_dump_f2fs),
    Case("f2fs", 75 * MIB + 5000, "mkfs.f2fs -q -O extra_attr,sb_checksum", by_dump_f2fs),
    Case("f2fs", 300 * MIB, "mkfs.f2fs -q -s 2 -z 2 -w 4096", by_dump_f2fs),
    Case("minix", 4 * MIB, "mkfs.minix -1 -n 14", by_fsck_minix),
    Case("minix", 4 * MIB, "mkfs.minix -1 -n 30 -i 100", by_fsck_minix),
    Case("minix", 100 * MIB, "mkfs.minix -2 -n 14", by_fsck_minix),
    Case("minix", 1 * MIB, "mkfs.minix -2 -n 30", by_fsck_minix),
    Case("minix", 60 * MIB, "mkfs.minix -3", by_fsck_minix),
    Case("nilfs2", 136 * MIB, "mkfs.nilfs2 -q -L data"),
    Case("nilfs2", 40 * MIB, "mkfs.nilfs2 -q -b 1024 -B 2048"),
    Case("jfs", 16 * MIB, "mkfs.jfs -q -L data", by_jfs_debugfs),
    Case("jfs", 33 * MIB, "mkfs.jfs -q -s 3", by_jfs_debugfs),
    Case("swap", 1 * MIB, "mkswap -q -L swap"),
    Case("swap", 1 * MIB, "mkswap -q -p 8192"),
    Case("swap", 2 * MIB, "mkswap -q -p 65536"),
)

PACKED = (
    Case("squashfs", 0, "mksquashfs {tree} {image} -quiet -no-progress", by_unsquashfs),
    Case("squashfs", 0, "mksquashfs {tree} {image} -quiet -no-progress -b 4096", by_unsquashfs),
    Case(
        "squashfs",
        0,
        "mksquashfs {tree} {image} -quiet -no-progress -comp zstd -b 1M -no-exports -no-xattrs",
        by_unsquashfs,
    ),
    Case("squashfs", 0, "mksquashfs {tree} {image} -quiet -no-progress -no-fragments -noI -noD"),
    Case("erofs", 0, "mkfs.erofs --quiet {image} {tree}", by_dump_erofs),
    Case("erofs", 0, "mkfs.erofs --quiet -zlz4hc -C65536 {image} {tree}", by_dump_erofs),
    Case("erofs", 0, "mkfs.erofs --quiet -Enosbcrc {image} {tree}", by_dump_erofs),
    Case("cramfs", 0, "mkfs.cramfs -n name {tree} {image}"),
    Case("cramfs", 0, "mkfs.cramfs -N big -b 8192 {tree} {image}"),
    Case("romfs", 0, "genromfs -f {image} -d {tree} -V name"),
)


@pytest.mark.parametrize("case", FORMATTED, ids=lambda case: case.command)
def test_mkfs(case: Case, tmp_path: Path) -> None:
    image = blank(tmp_path / "image", case.length)
    run(*case.command.split(), image, env=SMALL_XFS, stdin="y\n")
    agrees(image, case)


@pytest.mark.parametrize("case", PACKED, ids=lambda case: case.command)
def test_packed(case: Case, tmp_path: Path) -> None:
    image = tmp_path / "image"
    tree = linux_images.tree(tmp_path)
    run(*case.command.format(tree=tree, image=image).split())
    agrees(image, case)


def agrees(image: Path, case: Case) -> None:
    """Check kind and length with the oracle, the rest with blkid; then longer and shorter."""
    found = probe(image)
    assert found is not None
    assert (found.kind, found.length) == (case.kind, case.oracle(image))
    says_as_blkid(found, image)

    assert found.length is not None
    with image.open("r+b") as file:
        os.truncate(file.fileno(), found.length)
        file.seek(0, os.SEEK_END)
        file.write(random.Random(1).randbytes(100_000))
        os.truncate(file.fileno(), found.length + 3 * MIB + 512)
    assert probe(image) == found, "what follows the file system must not matter"

    os.truncate(image, found.length - 4096)
    with pytest.raises(ProbeError) as refused:
        probe(image)
    assert refused.value.code == "probe.truncated"


def says_as_blkid(found: Superblock, image: Path) -> None:
    known = blkid(image)
    assert (found.kind, found.label, found.uuid) == (
        known["TYPE"],
        known.get("LABEL"),
        known.get("UUID"),
    )
    assert known.get("VERSION") in (None, found.version)
    if found.kind != "xfs":  # there it is the sector size
        assert int(known.get("BLOCK_SIZE", 0)) in (0, found.block_size)


def test_a_block_count_in_blocks_below_the_size_of_the_device(tmp_path: Path) -> None:
    image = blank(tmp_path / "image", 20 * MIB)
    run("mke2fs", "-q", "-F", "-t", "ext4", "-b", "2048", image, "5000")
    found = probe(image)
    assert found is not None
    assert found.length == 10_240_000 == by_dumpe2fs(image)


def test_ext4_of_more_than_2_to_the_32_blocks() -> None:
    """Of which casync would make 1 TiB: it reads 32 bits of the block count."""
    fd = os.memfd_create("ext4")
    os.truncate(fd, 17 << 40)
    options = "-q -F -O 64bit,bigalloc,^resize_inode,^has_journal -C 1048576 -N 4096"
    # The path is of the process that holds the memory file: the child inherits nothing.
    image = f"/proc/{os.getpid()}/fd/{fd}"
    run("mkfs.ext4", *options.split(), "-E", "nodiscard,lazy_itable_init=1", image)
    found = probe(fd)
    os.close(fd)
    assert found is not None
    assert found.length == 17 << 40


def test_an_unpadded_squashfs_ends_with_its_file(tmp_path: Path) -> None:
    image = tmp_path / "image"
    run("mksquashfs", linux_images.tree(tmp_path), image, "-quiet", "-no-progress", "-nopad")
    length = image.stat().st_size
    assert length % 4096
    found = probe(image)
    assert found is not None
    assert found.length == length
    os.truncate(image, 10 * MIB)
    found = probe(image)
    assert found is not None
    assert found.length == -(-length // 4096) * 4096


def test_the_external_log_of_xfs(tmp_path: Path) -> None:
    image, log = blank(tmp_path / "image", 32 * MIB), blank(tmp_path / "log", 16 * MIB)
    run("mkfs.xfs", "-q", "-l", f"logdev={log},size=8m", image, env=SMALL_XFS)
    data, journal = probe(image), probe(log)
    assert data is not None
    assert journal is not None
    assert data.length == 32 * MIB
    assert (journal.kind, journal.length) == (blkid(log)["TYPE"], None)
    assert journal.uuid == data.uuid == blkid(log)["LOGUUID"]


def test_only_the_first_device_of_several_carries_f2fs() -> None:
    with tempfile.TemporaryDirectory() as folder:  # f2fs takes paths of 63 bytes at most
        first, second = (blank(Path(folder, name), 64 * MIB) for name in ("first", "second"))
        run("mkfs.f2fs", "-q", "-c", second, first)
        found = probe(first)
        assert found is not None
        assert found.length == 64 * MIB
        assert probe(second) is None


def test_each_device_of_several_tells_its_own_share_of_btrfs(tmp_path: Path) -> None:
    first, second = blank(tmp_path / "first", 120 * MIB), blank(tmp_path / "second", 200 * MIB)
    run("mkfs.btrfs", "-q", "-d", "single", first, second)
    shares = [found.length for found in map(probe, (first, second)) if found is not None]
    assert shares == [120 * MIB, 200 * MIB] == [by_btrfs(first), by_btrfs(second)]


def test_extra_devices_do_not_count_for_erofs(tmp_path: Path) -> None:
    image, blob = tmp_path / "image", tmp_path / "blob"
    tree = linux_images.tree(tmp_path)
    run("mkfs.erofs", "--quiet", "--chunksize=4096", f"--blobdev={blob}", image, tree)
    found = probe(image)
    assert found is not None
    assert found.length == image.stat().st_size


def test_cramfs_behind_a_boot_sector_which_blkid_misses(tmp_path: Path) -> None:
    image = tmp_path / "image"
    run("mkfs.cramfs", "-p", "-n", "boot", linux_images.tree(tmp_path), image)
    found = probe(image)
    assert found is not None
    assert (found.kind, found.label, found.length) == ("cramfs", "boot", image.stat().st_size)


@pytest.mark.parametrize(
    "options",
    [
        ("--data-block-size=4096", "--hash-block-size=4096"),
        ("--data-block-size=1024", "--hash-block-size=512", "--hash=sha512"),
        ("--data-block-size=512", "--hash-block-size=4096", "--hash=sha1", "--salt=-"),
        ("--format=0", "--hash=sha1"),
    ],
    ids=lambda options: " ".join(options),
)
def test_a_hash_tree_behind_the_file_system_belongs_to_it(
    options: tuple[str, ...], tmp_path: Path
) -> None:
    image = blank(tmp_path / "image", 8 * MIB)
    run("mke2fs", "-q", "-F", "-t", "ext4", image)
    plain = probe(image)
    sizes = re.findall(r"data-block-size=(\d+)", " ".join(options)) or [4096]
    append_hash_tree(image, *options, f"--data-blocks={8 * MIB // int(sizes[0])}")
    end = image.stat().st_size
    assert end > 8 * MIB + 512
    os.truncate(image, end + MIB)
    found = probe(image)
    assert plain is not None
    assert found is not None
    assert (found.kind, found.uuid) == ("ext4", plain.uuid)
    assert (found.length, found.hash_tree_length) == (end, end - 8 * MIB)
    os.truncate(image, end - 1)
    with pytest.raises(ProbeError) as refused:
        probe(image)
    assert (refused.value.code, refused.value.kind) == ("probe.truncated", "DM_verity_hash")


def test_a_hash_tree_of_three_levels(tmp_path: Path) -> None:
    data, tree = blank(tmp_path / "data", 80 * MIB), tmp_path / "tree"
    run("veritysetup", "format", data, tree)
    found = probe(tree)
    assert found is not None
    (hash_blocks,) = numbers(run("veritysetup", "dump", tree), "Hash blocks:")
    assert found.length == tree.stat().st_size == (1 + hash_blocks) * 4096
    assert (found.kind, found.uuid) == (blkid(tree)["TYPE"], blkid(tree)["UUID"])


@pytest.mark.parametrize("protected", [4 * MIB, 12 * MIB])
def test_a_hash_tree_of_something_else_is_not_counted(protected: int, tmp_path: Path) -> None:
    image = blank(tmp_path / "image", 8 * MIB)
    run("mke2fs", "-q", "-F", "-t", "ext4", image)
    other = blank(tmp_path / "other", protected)
    tree = tmp_path / "tree"
    run("veritysetup", "format", other, tree)
    plain = probe(image)
    with image.open("ab") as file:
        file.write(tree.read_bytes())
    assert probe(image) == plain

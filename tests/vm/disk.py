# SPDX-License-Identifier: Apache-2.0
"""A disk with two slots, made without root and without loop devices.

    esp      FAT    bootloader, and kernels where the firmware or systemd-boot loads them
    bios     raw    GRUB's core image, for a machine without UEFI
    root-a   ext4   slot A
    root-b   ext4   slot B
    env      raw    U-Boot's environment, where it is on a partition
    data     ext4   what survives an update

All identifiers are fixed, so that a command line can name a root without looking at the disk.
"""

from __future__ import annotations

import enum
import os
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from tests.capabilities import require_tool
from tests.vm.cache import cached
from tests.vm.programs import ProgramFailed, run

SECTOR = 512
MIB = 1 << 20


class Partition(enum.Enum):
    """A partition; its number is its place in this list, from 1."""

    ESP = "esp"
    BIOS = "bios"
    ROOT_A = "root-a"
    ROOT_B = "root-b"
    ENV = "env"
    DATA = "data"

    @property
    def number(self) -> int:
        """Its number in the table."""
        return list(Partition).index(self) + 1

    @property
    def length(self) -> int:
        """Bytes."""
        return _LENGTHS_MIB[self] * MIB

    @property
    def offset(self) -> int:
        """Where it begins on the disk, in bytes."""
        before = list(Partition)[: self.number - 1]
        return MIB + sum(partition.length for partition in before)

    @property
    def uuid(self) -> str:
        """The unique identifier in the table, as in `root=PARTUUID=`."""
        return f"0000000{self.number}-cafc-4caf-8caf-cafcafcafcaf"


_LENGTHS_MIB = {
    Partition.ESP: 96,
    Partition.BIOS: 1,
    Partition.ROOT_A: 160,
    Partition.ROOT_B: 160,
    Partition.ENV: 1,
    Partition.DATA: 64,
}
# UEFI specification 2.10, table 5.7; GNU GRUB manual, "BIOS installation"; else Linux data.
_TYPES = {
    Partition.ESP: "C12A7328-F81F-11D2-BA4B-00A0C93EC93B",
    Partition.BIOS: "21686148-6449-6E6F-744E-656564454649",
}
_LINUX = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"

SLOTS = {"A": Partition.ROOT_A, "B": Partition.ROOT_B}
DISK_LENGTH = Partition.DATA.offset + Partition.DATA.length + MIB


def root_image(tree: Path) -> Path:
    """Return an ext4 image of a tree, as long as a slot; it is shared, so it must not change."""
    require_tool("mkfs.ext4")

    def build(path: Path) -> None:
        size = f"{Partition.ROOT_A.length // 1024}k"
        options = ("-q", "-F", "-b", "4096", "-L", "root", "-m", "0", "-O", "^has_journal")
        run("mkfs.ext4", *options, "-d", tree, path, size)

    return cached("root", ["3", str(tree), str(Partition.ROOT_A.length)], build)


def make_disk(path: Path, roots: Mapping[Partition, Path], data: Mapping[str, str]) -> None:
    """Make a disk with an empty ESP, and images in its slots.

    Args:
        path: the file to make.
        roots: an image for each partition that shall not be empty.
        data: texts of files on the data partition; `etc-caflip/` is `/etc/caflip` in the guest,
            `var-lib-caflip/` is `/var/lib/caflip`.
    """
    require_tool("sfdisk", "mkfs.vfat", "mkfs.ext4", "mcopy")
    with path.open("wb") as file:
        file.truncate(DISK_LENGTH)
    lines = ["label: gpt", "label-id: 0caf11b0-cafc-4caf-8caf-cafcafcafcaf"]
    for part in Partition:
        lines.append(
            f"start={part.offset // SECTOR}, size={part.length // SECTOR}, name={part.value}, "
            f"type={_TYPES.get(part, _LINUX)}, uuid={part.uuid}"
        )
    run("sfdisk", "-q", "--no-reread", "--no-tell-kernel", path, text="\n".join(lines))
    esp = Partition.ESP
    offset = f"--offset={esp.offset // SECTOR}"
    run("mkfs.vfat", "-n", "ESP", offset, path, str(esp.length // 1024))
    with TemporaryDirectory() as folder:
        for name in ("etc-caflip", "var-lib-caflip"):
            (Path(folder) / name).mkdir()
        for name, text in data.items():
            file_path = Path(folder) / name
            file_path.parent.mkdir(parents=True, exist_ok=True)
            file_path.write_text(text)
        part = Partition.DATA
        # See "State" in docs/architecture.md.
        options = ("-q", "-F", "-b", "4096", "-O", "^metadata_csum", "-L", "data", "-d", folder)
        size = f"{part.length // 1024}k"
        run("mkfs.ext4", *options, "-E", f"offset={part.offset}", path, size)
    for part, image in roots.items():
        write_partition(path, part, image)


def write_partition(disk: Path, part: Partition, image: Path) -> None:
    """Copy an image into a partition, and leave holes where it has some."""
    assert image.stat().st_size <= part.length
    copy_data(image, disk, part.offset)


def copy_data(image: Path, target_path: Path, offset: int) -> None:
    """Copy an image to a place in a file, and leave holes where it has some."""
    with image.open("rb") as source, target_path.open("r+b") as target:
        start = 0
        while True:
            try:
                start = os.lseek(source.fileno(), start, os.SEEK_DATA)
            except OSError:  # ENXIO: only a hole is left
                return
            end = os.lseek(source.fileno(), start, os.SEEK_HOLE)
            source.seek(start)
            target.seek(offset + start)
            while start < end:
                start += target.write(source.read(min(MIB, end - start)))


def read_partition(disk: Path, part: Partition, offset: int = 0, length: int = -1) -> bytes:
    """Read from a partition, at most to its end."""
    if length < 0:
        length = part.length - offset
    with disk.open("rb") as file:
        file.seek(part.offset + offset)
        return file.read(min(length, part.length - offset))


def holds(disk: Path, part: Partition, image: Path) -> bool:
    """Tell whether a partition begins with an image, byte by byte."""
    with image.open("rb") as expected, disk.open("rb") as file:
        file.seek(part.offset)
        while block := expected.read(MIB):
            if file.read(len(block)) != block:
                return False
    return True


def copy_disk(source: Path, path: Path) -> None:
    """Copy a disk with its holes, sharing blocks where the file system can."""
    run("cp", "--reflink=auto", "--sparse=always", source, path)


def put_files(disk: Path, files: Mapping[str, bytes]) -> None:
    """Write files into the ESP, with the folders above them."""
    where = f"{disk}@@{Partition.ESP.offset}"
    present = set(listing(disk))
    with TemporaryDirectory() as folder:
        for name, content in files.items():
            for above in reversed(PurePosixPath(name).parents[:-1]):
                if str(above) not in present:
                    run("mmd", "-i", where, f"::/{above}")
                    present.add(str(above))
            source = Path(folder) / "file"
            source.write_bytes(content)
            run("mcopy", "-o", "-i", where, source, f"::/{name}")


def get_file(disk: Path, name: str) -> str:
    """Read a text file from the ESP."""
    return run("mtype", "-i", f"{disk}@@{Partition.ESP.offset}", f"::/{name}")


def listing(disk: Path) -> list[str]:
    """List all files and folders in the ESP, relative to its root."""
    try:
        text = run("mdir", "-/", "-b", "-a", "-i", f"{disk}@@{Partition.ESP.offset}", "::/")
    except ProgramFailed as error:
        if "not found" in str(error):  # what mdir says where there is nothing
            return []
        raise
    return [line.removeprefix("::/").rstrip("/") for line in text.splitlines()]


def write_region(disk: Path, part: Partition, content: bytes, offset: int = 0) -> None:
    """Write bytes into a partition; such as damage."""
    assert offset + len(content) <= part.length
    with disk.open("r+b") as file:
        file.seek(part.offset + offset)
        file.write(content)

# SPDX-License-Identifier: Apache-2.0
"""One small image of each container, foreign or flash file system and boot image."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

from tests.fsprobe import crafted_containers as crafted
from tests.fsprobe.programs import blank, run

MIB = 1 << 20

FORMATTED: dict[str, tuple[int, str]] = {
    "fat12": (1 * MIB, "mkfs.fat -F 12 -n SMALL"),
    "fat16": (8 * MIB, "mkfs.fat -F 16 -s 1 -n MEDIUM"),
    "fat32": (40 * MIB, "mkfs.fat -F 32 -s 1 -n LARGE"),
    "exfat": (4 * MIB, "mkfs.exfat -L data"),
    "ntfs": (4 * MIB, "mkntfs -q -F -L data"),
    "udf": (4 * MIB, "mkudffs -l data"),
    "hfs": (2 * MIB, "hformat -f -l data"),
    "reiserfs": (36 * MIB, "mkreiserfs -q -f -f -l data"),
    "bcache": (1 * MIB, "make-bcache -B"),
}
"""Name, size of the device, and the command that the image's path is appended to."""

LUKS = "cryptsetup luksFormat --batch-mode --pbkdf pbkdf2 --pbkdf-force-iterations 1000 --type "

TABLES = {
    "dos": "label: dos\n,100,c\n,200,83\n",
    "gpt": "label: gpt\n,100,U\n,200,L\n",
}
"""Name, and the script for sfdisk."""

CRAFTED: dict[str, Callable[[], bytes]] = {
    "md_0": crafted.md_0,
    "md_1_0": lambda: crafted.md_1("1.0"),
    "md_1_2": lambda: crafted.md_1("1.2"),
    "drbd": crafted.drbd,
    "lvm": crafted.lvm,
    "zfs": lambda: crafted.zfs(length=2 * MIB),
    "vmfs": crafted.vmfs,
    "bitlocker": crafted.bitlocker,
    "hfs_plus": crafted.hfs_plus,
    "apfs": crafted.apfs,
    "befs": crafted.befs,
    "hpfs": crafted.hpfs,
    "sysv": crafted.sysv,
    "xenix": crafted.xenix,
    "android_boot_2": lambda: crafted.android_boot(2),
    "android_boot_4": lambda: crafted.android_boot(4),
    "vendor_boot": lambda: crafted.vendor_boot(4),
    "vbmeta": crafted.vbmeta,
    "avb_footer": crafted.avb_footer,
    "android_super": crafted.android_super,
}
"""Written by hand from the cited headers."""

NAMES = (
    *(*FORMATTED, *TABLES, *CRAFTED, "iso9660", "bridge", "ufs", "luks1", "luks2", "jffs2"),
    *("ubifs", "ubi", "fit", "uimage", "sparse", "qcow2"),
)

FIT_SOURCE = """/dts-v1/;
/ {{
    description = "test image"; #address-cells = <1>;
    images {{ kernel {{
        data = /incbin/("{data}"); type = "kernel"; arch = "arm"; os = "linux";
        compression = "none"; load = <0>; entry = <0>; hash {{ algo = "sha1"; }};
    }}; }};
    configurations {{ default = "c"; c {{ kernel = "kernel"; }}; }};
}};
"""


def tree(folder: Path) -> Path:
    """Make a folder with something to pack into read-only images."""
    packed = folder / "tree"
    packed.mkdir()
    (packed / "text").write_text("hello\n" * 100)
    (packed / "noise").write_bytes(random.Random(2).randbytes(100_000))
    return packed


def luks(image: Path, version: str, *options: str) -> Path:
    """Format a LUKS container on an existing file."""
    run(*LUKS.split(), version, *options, "--key-file", "-", image, stdin="secret")
    return image


def ubi(folder: Path, volume: Path, image: Path, *options: str) -> Path:
    """Pack a UBIFS image into a UBI image."""
    layout = folder / f"{image.name}.ini"
    layout.write_text(
        f"[v]\nmode=ubi\nimage={volume}\nvol_id=0\nvol_type=dynamic\nvol_name=v\nvol_size=8MiB\n"
    )
    run("ubinize", "-o", image, "-m", "2048", "-p", "128KiB", *options, layout)
    return image


def fit(folder: Path, image: Path, data: Path, *options: str) -> Path:
    """Make a FIT image with one kernel."""
    source = folder / f"{image.name}.its"
    source.write_text(FIT_SOURCE.format(data=data))
    run("mkimage", *options, "-f", source, image)
    return image


def build(folder: Path) -> dict[str, Path]:
    """Make all of `NAMES` in an empty folder."""
    images = {name: folder / name for name in NAMES}
    for name, (length, command) in FORMATTED.items():
        run(*command.split(), blank(images[name], length))
    for name, craft in CRAFTED.items():
        images[name].write_bytes(craft())
    for name, script in TABLES.items():
        run("sfdisk", "-q", blank(images[name], MIB), stdin=script)
    packed = tree(folder)
    noise = packed / "noise"
    run("genisoimage", "-quiet", "-J", "-V", "DATA", "-o", images["iso9660"], packed)
    run("genisoimage", "-quiet", "-udf", "-V", "DATA", "-o", images["bridge"], packed)
    run("makefs", "-t", "ffs", "-s", "1m", "-o", "version=2", images["ufs"], packed)
    luks(blank(images["luks1"], 4 * MIB), "luks1")
    luks(blank(images["luks2"], 4 * MIB), "luks2", "--luks2-keyslots-size", "512k")
    run("mkfs.jffs2", "-l", "-r", packed, "-o", images["jffs2"])
    geometry = ("-m", "2048", "-e", "126976", "-c", "100")
    run("mkfs.ubifs", "-r", packed, *geometry, "-o", images["ubifs"])
    ubi(folder, images["ubifs"], images["ubi"])
    fit(folder, images["fit"], noise)
    kernel = ("-A", "arm", "-O", "linux", "-T", "kernel", "-C", "none", "-n", "test kernel")
    run("mkimage", *kernel, "-d", noise, images["uimage"])
    run("img2simg", images["fat16"], images["sparse"])
    run("qemu-img", "create", "-q", "-f", "qcow2", images["qcow2"], "1M")
    return images

# SPDX-License-Identifier: Apache-2.0
"""The disk of the demonstration: a file with the partitions of a device that U-Boot starts.

    esp         FAT
    uboot-env   U-Boot's environment in two copies, raw
    root-a      slot A
    root-b      slot B
    data        ext4, what outlives an update

No loop device and no root is needed: every tool is told an offset.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench import images
from boot.uboot_environment import StoredEnvironment

MIB = 1 << 20
SECTOR = 512
ENVIRONMENT_SIZE = 0x4000

DISK = Path("disk.img")
FW_ENV = Path("fw_env.config")
CONFIG = Path("config.toml")


@dataclass(frozen=True, slots=True)
class Partition:
    """A region of the disk, in bytes; `kind` is sfdisk's."""

    name: str
    kind: str
    offset: int
    length: int

    @property
    def region(self) -> str:
        """How a configuration names it."""
        return f"{DISK}@{self.offset // MIB}M+{self.length // MIB}M"


_SLOT = images.DEMO.partition_length
ESP = Partition("esp", "uefi", 1 * MIB, 33 * MIB)
ENVIRONMENT = Partition("uboot-env", "linux", ESP.offset + ESP.length, 1 * MIB)
SLOT_A = Partition("root-a", "linux", ENVIRONMENT.offset + ENVIRONMENT.length, _SLOT)
SLOT_B = Partition("root-b", "linux", SLOT_A.offset + _SLOT, _SLOT)
DATA = Partition("data", "linux", SLOT_B.offset + _SLOT, 16 * MIB)
PARTITIONS = (ESP, ENVIRONMENT, SLOT_A, SLOT_B, DATA)


def make_disk() -> None:
    """Make the disk with empty slots, and fw_env.config, which says where the environment is."""
    DISK.unlink(missing_ok=True)
    with DISK.open("wb") as file:
        file.truncate(DATA.offset + DATA.length + MIB)
    lines = ["label: gpt"]
    for part in PARTITIONS:
        start, size = part.offset // SECTOR, part.length // SECTOR
        lines.append(f"start={start}, size={size}, type={part.kind}, name={part.name}")
    sfdisk = ["sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", str(DISK)]
    images.run(sfdisk, stdin="\n".join(lines))
    fat = ["mkfs.vfat", "-n", "ESP", f"--offset={ESP.offset // SECTOR}"]
    images.run([*fat, str(DISK), str(ESP.length // 1024)])
    ext4 = ["mkfs.ext4", "-q", "-F", "-L", "data", "-E", f"offset={DATA.offset}"]
    images.run([*ext4, str(DISK), f"{DATA.length // 1024}k"])
    _write_environment({"BOOT_ORDER": "A B"})


def _write_environment(variables: Mapping[str, str]) -> None:
    """Write both copies of U-Boot's environment with mkenvimage(1), as a factory does."""
    text = "".join(f"{name}={value}\n" for name, value in variables.items())
    copy = Path("environment.bin")
    images.run(["mkenvimage", "-r", "-s", hex(ENVIRONMENT_SIZE), "-o", copy, "-"], stdin=text)
    lines = []
    with DISK.open("r+b") as disk:
        for offset in (ENVIRONMENT.offset, ENVIRONMENT.offset + ENVIRONMENT_SIZE):
            disk.seek(offset)
            disk.write(copy.read_bytes())
            lines.append(f"{DISK} {offset:#x} {ENVIRONMENT_SIZE:#x}\n")
    copy.unlink()
    FW_ENV.write_text("".join(lines))


def write_config(url: str) -> None:
    """Write the device's configuration."""
    CONFIG.write_text(
        f"""\
compatible = "demo-device"

[channel]
url = "{url}"

[trust]
keyring = "trusted.gpg"

[bootloader]
kind = "uboot"
config = "{FW_ENV}"

[[slot]]
name = "root-a"
device = "{SLOT_A.region}"
boot = "A"

[[slot]]
name = "root-b"
device = "{SLOT_B.region}"
boot = "B"

[health]
commands = [["/sbin/e2fsck", "-f", "-n", "{DISK}?offset={SLOT_B.offset}"]]

[state]
folder = "state"
"""
    )


def boot() -> str:
    """Do what `boot/data/uboot.cmd` does at a start, and say it: choose a slot, count its try.

    Raises:
        RuntimeError: nothing would boot.
    """
    environment = StoredEnvironment.configured(FW_ENV)
    variables = environment.read().variables
    for name in variables["BOOT_ORDER"].split():
        if variables.get(f"BOOT_{name}_OK") == "1":
            return f"slot {name} is good and starts"
        left = int(variables.get(f"BOOT_{name}_LEFT", "0"), 16)
        if left:
            counted = {f"BOOT_{name}_LEFT": f"{left - 1:x}"}
            environment.change(lambda _: counted)  # noqa: B023 (called at once)
            return f"BOOT_{name}_LEFT {left} -> {left - 1}, and slot {name} starts"
    raise RuntimeError("no slot would boot")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Content of the disk, and when it was last written to."""

    sha256: str
    written_ns: int


def snapshot() -> Snapshot:
    """Look at the whole disk."""
    with DISK.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return Snapshot(digest, DISK.stat().st_mtime_ns)


def holds(image: Path, slot: Partition) -> bool:
    """Whether a slot holds an image, byte by byte."""
    with image.open("rb") as expected, DISK.open("rb") as disk:
        disk.seek(slot.offset)
        while block := expected.read(MIB):
            if disk.read(len(block)) != block:
                return False
    return True

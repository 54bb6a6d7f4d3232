# SPDX-License-Identifier: Apache-2.0
"""GRUB on a PC, for UEFI and BIOS on the same disk, with caflip's script in the ESP.

Both images are made by grub-mkimage and put in place by hand: grub-install wants loop devices and
root. The kernel is loaded from the slot.

The BIOS boot sector (GRUB, grub-core/boot/i386/pc/boot.S and diskboot.S, include/grub/offsets.h):
the first sector of the core image stands as u64 at 0x5c of boot.img; two bytes at 0x66 become NOPs,
so that the BIOS's drive number is believed. The core's own first sector ends with its block list:
u64 first sector, u16 number of sectors, u16 segment, for what follows it.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.capabilities import require_tool
from tests.vm.cache import ROOT
from tests.vm.disk import SECTOR, SLOTS, Partition, put_files, write_region
from tests.vm.firmware import required
from tests.vm.programs import run

SCRIPT = ROOT / "boot/data/grub.cfg"
ENVIRONMENT = "grub/grubenv"
"""In the ESP; `/efi/grub/grubenv` in the guest."""

_MODULES = (
    *("boot", "configfile", "echo", "ext2", "fat", "linux", "loadenv", "normal", "part_gpt"),
    *("reboot", "search", "search_label", "serial", "sleep", "terminal", "test"),
)
_BOOT_IMAGE = Path("/usr/lib/grub/i386-pc/boot.img")
_EARLY = "search --no-floppy --label ESP --set=root\nset prefix=($root)/grub\n"
_CONFIGURATION = """\
serial --unit=0 --speed=115200
terminal_output serial
terminal_input serial
function caflip_load {{
{parts}
    linux (hd0,gpt$part)/boot/vmlinuz root=PARTUUID=$uuid ro {arguments} $caflip_arguments
}}
set caflip_default="A B"
source $prefix/caflip.cfg
echo "No slot can boot."
sleep 1
reboot
"""
ARGUMENTS = "console=ttyS0 init=/usr/sbin/init panic=-1"


def install_grub(disk: Path, variables: Mapping[str, str]) -> None:
    """Put GRUB on a disk.

    Args:
        disk: with a kernel in `/boot/vmlinuz` of each slot.
        variables: caflip's own at the beginning; none for an environment that nobody filled.
    """
    require_tool("grub-mkimage", "grub-editenv")
    required(_BOOT_IMAGE, "grub-pc-bin")
    required(Path("/usr/lib/grub/x86_64-efi"), "grub-efi-amd64-bin")
    parts = "\n".join(
        f'    if [ "$1" = {slot} ]; then set part={part.number}; set uuid={part.uuid}; fi'
        for slot, part in SLOTS.items()
    )
    with TemporaryDirectory() as name:
        folder = Path(name)
        efi = _image(folder, "x86_64-efi")
        core = _image(folder, "i386-pc", "biosdisk")
        block = folder / "grubenv"
        run("grub-editenv", block, "create")
        if variables:
            run("grub-editenv", block, "set", *(f"{key}={text}" for key, text in variables.items()))
        put_files(
            disk,
            {
                "EFI/BOOT/BOOTX64.EFI": efi,
                "grub/grub.cfg": _CONFIGURATION.format(parts=parts, arguments=ARGUMENTS).encode(),
                "grub/caflip.cfg": SCRIPT.read_bytes(),
                ENVIRONMENT: block.read_bytes(),
            },
        )
    _install_for_bios(disk, core)


def _image(folder: Path, platform: str, *modules: str) -> bytes:
    early = folder / "early.cfg"
    early.write_text(_EARLY + "configfile $prefix/grub.cfg\n")
    image = folder / platform
    options = ("-O", platform, "-p", "/grub", "-c", early, "-o", image)
    run("grub-mkimage", *options, *_MODULES, *modules)
    return image.read_bytes()


def _install_for_bios(disk: Path, core: bytes) -> None:
    first = Partition.BIOS.offset // SECTOR
    padded = bytearray(core.ljust(-(-len(core) // SECTOR) * SECTOR, b"\0"))
    assert len(padded) <= Partition.BIOS.length
    struct.pack_into("<QHH", padded, 0x1F4, first + 1, len(padded) // SECTOR - 1, 0x0820)
    write_region(disk, Partition.BIOS, bytes(padded))
    sector = bytearray(_BOOT_IMAGE.read_bytes()[:440])
    struct.pack_into("<Q", sector, 0x5C, first)
    sector[0x66:0x68] = b"\x90\x90"
    with disk.open("r+b") as file:
        file.write(sector)

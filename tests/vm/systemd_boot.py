# SPDX-License-Identifier: Apache-2.0
"""systemd-boot on a PC: kernels and entries in the ESP, tries counted in the entries' names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tests.vm.disk import SLOTS, put_files
from tests.vm.firmware import required
from tests.vm.grub import ARGUMENTS

_LOADER = Path("/usr/lib/systemd/boot/efi/systemd-bootx64.efi")


def install_systemd_boot(
    disk: Path, kernels: Mapping[str, Path], entries: Mapping[str, str], settings: str = ""
) -> None:
    """Put systemd-boot on a disk.

    Args:
        disk: what to put it on.
        kernels: of each slot.
        entries: the file name of each slot's entry, such as `slot-b+3.conf`.
        settings: more lines of loader.conf.
    """
    files = {
        "EFI/BOOT/BOOTX64.EFI": required(_LOADER, "systemd-boot-efi").read_bytes(),
        "loader/loader.conf": f"timeout 0\n{settings}".encode(),
    }
    for slot, kernel in kernels.items():
        files[f"{slot.lower()}/vmlinuz"] = kernel.read_bytes()
        files[f"loader/entries/{entries[slot]}"] = entry(slot).encode()
    put_files(disk, files)


def entry(slot: str) -> str:
    """Return the text of a slot's entry."""
    root = f"root=PARTUUID={SLOTS[slot].uuid}"
    return (
        f"title slot {slot}\n"
        f"linux /{slot.lower()}/vmlinuz\n"
        f"options {root} ro {ARGUMENTS} caflip.slot={slot}\n"
    )

# SPDX-License-Identifier: Apache-2.0
"""A device as it leaves the factory: v1 in slot A, and in slot B what the test wants."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tests.vm.architecture import Architecture
from tests.vm.caflip_guest import tree_with_caflip
from tests.vm.disk import Partition, make_disk, root_image
from tests.vm.machine import Hardware, LoggedDisk
from tests.vm.rootfs import Version
from tests.vm.uboot import FW_ENV_CONFIG, Board, Storage, make_board

FACTORY = {"A": Version.V1, "B": Version.V2}


def image(architecture: Architecture, version: Version) -> Path:
    """Return the image of a version, with this checkout in it; it must not change."""
    return root_image(tree_with_caflip(architecture, version))


def kernels(architecture: Architecture) -> dict[str, Path]:
    """Return the kernel of each slot, for loaders that want it in the ESP."""
    return {
        slot: tree_with_caflip(architecture, version) / "boot/vmlinuz"
        for slot, version in FACTORY.items()
    }


def factory_disk(
    folder: Path,
    architecture: Architecture,
    *,
    both: bool = True,
    data: Mapping[str, str] | None = None,
) -> Path:
    """Make a disk without a bootloader.

    Args:
        folder: where it goes.
        architecture: of the systems on it.
        both: v2 is in slot B already; else slot B is empty.
        data: see `make_disk`.
    """
    roots = {Partition.ROOT_A: image(architecture, Version.V1)}
    if both:
        roots[Partition.ROOT_B] = image(architecture, Version.V2)
    disk = folder / "disk.img"
    make_disk(disk, roots, data or {})
    return disk


def uboot_device(
    folder: Path,
    storage: Storage,
    *,
    both: bool = True,
    data: Mapping[str, str] | None = None,
    variables: Mapping[str, str] | None = None,
) -> Board:
    """Make an ARM board with U-Boot; fw_env.config is in place. See `make_board`."""
    texts = {"etc-caflip/fw_env.config": FW_ENV_CONFIG[storage], **(data or {})}
    disk = factory_disk(folder, Architecture.ARM64, both=both, data=texts)
    return make_board(folder, disk, storage, variables)


def direct(disk: Path, *more: LoggedDisk | Path) -> Hardware:
    """Return an ARM machine whose kernel is started without a bootloader: the fastest there is.

    Args:
        disk: with the root in slot A.
        more: further disks, /dev/vda and so on.
    """
    root = Partition.ROOT_A.uuid
    return Hardware(
        Architecture.ARM64,
        (disk, *more),
        kernel=tree_with_caflip(Architecture.ARM64) / "boot/vmlinuz",
        arguments=f"console=ttyAMA0 root=PARTUUID={root} ro init=/usr/sbin/init panic=-1",
    )

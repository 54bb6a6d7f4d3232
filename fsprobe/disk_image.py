# SPDX-License-Identifier: Apache-2.0
"""Containers of virtual disks: to find one on a device means that it was never unpacked.

Source: qemu docs/interop/qcow2.txt; VirtualBox VDICore.h (signature at byte 64); VMware "Virtual
Disk Format 5.0"; MS-VHDX section 2.2.1; Microsoft "Virtual Hard Disk Image Format Specification".
"""

from __future__ import annotations

from fsprobe.device import Device
from fsprobe.superblock import Superblock

SIGNATURES = (
    ("qcow2", 0, b"QFI\xfb", 4, "big"),
    ("vdi", 64, b"\x7f\x10\xda\xbe", 0, "little"),
    ("vmdk", 0, b"KDMV", 4, "little"),
    ("vhdx", 0, b"vhdxfile", 0, "little"),
    ("vhd", 0, b"conectix", 0, "big"),
)
"""Kind, byte of the signature, signature, byte of a 32-bit version (0: none), byte order."""


def probe(device: Device) -> Superblock | None:
    """Kind and version only."""
    raw = device.read(0, 128)
    for kind, at, signature, version_at, order in SIGNATURES:
        if raw[at:].startswith(signature):
            version = None
            if version_at:
                field = raw[version_at : version_at + 4]
                version = str(int.from_bytes(field, "big" if order == "big" else "little"))
            return Superblock(kind=kind, length=None, version=version)
    return None

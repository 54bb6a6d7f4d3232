# SPDX-License-Identifier: Apache-2.0
"""Cluster file systems: OCFS2, GFS and GFS2.

Source: linux/fs/ocfs2/ocfs2_fs.h (struct ocfs2_dinode with ocfs2_super_block at 192, in block 2),
linux/include/uapi/linux/gfs2_ondisk.h (struct gfs2_sb at byte 65536).
"""

from __future__ import annotations

import struct

from fsprobe.device import Device
from fsprobe.errors import ProbeError
from fsprobe.superblock import Superblock
from fsprobe.text import label_of, uuid_of

OCFS2_MAGIC = b"OCFSV2"
OCFS2_BLOCK_SIZES = (512, 1024, 2048, 4096)
OCFS2_SUPERBLOCK = 2

GFS_AT = 65536
GFS_MAGIC = b"\x01\x16\x19\x70"
GFS_FORMATS = {1309: "gfs", 1801: "gfs2", 1802: "gfs2"}


def probe_ocfs2(device: Device) -> Superblock | None:
    """OCFS2. Length: count of clusters times their size.

    Raises:
        ProbeError: cluster or block size out of range.
    """
    for block_size in OCFS2_BLOCK_SIZES:
        raw = device.read(OCFS2_SUPERBLOCK * block_size, 512)
        if len(raw) < 512 or raw[:6] != OCFS2_MAGIC:
            continue
        (clusters,) = struct.unpack_from("<I", raw, 20)
        major, minor = struct.unpack_from("<HH", raw, 192)
        block_bits, cluster_bits = struct.unpack_from("<II", raw, 248)
        if 1 << min(block_bits, 31) != block_size or not 12 <= cluster_bits <= 20:
            raise ProbeError(
                "corrupt", "ocfs2", f"blocks 2^{block_bits}, clusters 2^{cluster_bits}"
            )
        return Superblock(
            kind="ocfs2",
            length=clusters << cluster_bits,
            block_size=block_size,
            label=label_of(raw[272:336]),
            uuid=uuid_of(raw[336:352]),
            version=f"{major}.{minor}",
        )
    return None


def probe_gfs(device: Device) -> Superblock | None:
    """GFS and GFS2; the size is in the resource index, not in the superblock."""
    raw = device.read(GFS_AT, 512)
    if len(raw) < 512 or raw[:4] != GFS_MAGIC:
        return None
    file_system, multihost, _, block_size = struct.unpack_from(">4I", raw, 24)
    kind = GFS_FORMATS.get(file_system)
    if kind is None or multihost not in (1401, 1900):
        raise ProbeError("corrupt", "gfs2", f"format {file_system}, multi-host {multihost}")
    return Superblock(
        kind=kind,
        length=None,
        block_size=block_size,
        label=label_of(raw[160:224]),
        uuid=uuid_of(raw[256:272]),
        version="1" if kind == "gfs2" else None,
    )

# SPDX-License-Identifier: Apache-2.0
"""The feature flags in an index header: docs/formats.md, "Feature flags".

A blob index carries them, but only `SHA512_256` means anything for it. The rest is checked as
casync checks it, so that what one of the two accepts the other accepts too.
"""

from __future__ import annotations

import enum

from images.digests import Digest


class Feature(enum.IntFlag):
    """Bits with casync's names. Those of trees matter to `.caidx` and `.catar` alone."""

    UIDS_16BIT = 0x1
    UIDS_32BIT = 0x2
    USER_NAMES = 0x4
    SEC_TIME = 0x8
    USEC_TIME = 0x10
    NSEC_TIME = 0x20
    TWO_SEC_TIME = 0x40
    READ_ONLY = 0x80
    PERMISSIONS = 0x100
    FLAG_NODUMP = 0x100000
    SUBVOLUME = 0x4000000
    SUBVOLUME_RO = 0x8000000
    ACL = 0x20000000
    EXCLUDE_FILE = 1 << 60
    SHA512_256 = 1 << 61
    EXCLUDE_SUBMOUNTS = 1 << 62
    EXCLUDE_NODUMP = 1 << 63


KNOWN = 0x1FFFFFFFF | 0xF << 60
"""Every bit that casync defines; a reader refuses the others."""


def flags_for(digest: Digest) -> int:
    """Return the header flags that casync's `make` writes for a blob by default."""
    flags = Feature.EXCLUDE_NODUMP | Feature.EXCLUDE_FILE
    return int(flags | Feature.SHA512_256 if digest is Digest.SHA512_256 else flags)


def digest_of(flags: int) -> Digest:
    """Return the algorithm of the chunk ids."""
    return Digest.SHA512_256 if flags & Feature.SHA512_256 else Digest.SHA256


def normalised(flags: int) -> int:
    """Return the minimal form of a set of flags: the only one that may stand in a file."""
    f = Feature(flags)
    if f & Feature.ACL and not f & (Feature.UIDS_16BIT | Feature.UIDS_32BIT | Feature.USER_NAMES):
        f |= Feature.UIDS_32BIT | Feature.USER_NAMES
    for stronger, weaker in (
        (Feature.UIDS_32BIT, Feature.UIDS_16BIT),
        (Feature.NSEC_TIME, Feature.USEC_TIME | Feature.SEC_TIME | Feature.TWO_SEC_TIME),
        (Feature.USEC_TIME, Feature.SEC_TIME | Feature.TWO_SEC_TIME),
        (Feature.SEC_TIME, Feature.TWO_SEC_TIME),
        (Feature.ACL, Feature.PERMISSIONS | Feature.READ_ONLY),
        (Feature.PERMISSIONS, Feature.READ_ONLY),
        (Feature.EXCLUDE_NODUMP, Feature.FLAG_NODUMP),
    ):
        if f & stronger:
            f &= ~weaker
    if f & Feature.SUBVOLUME_RO:
        f |= Feature.SUBVOLUME
    return int(f)

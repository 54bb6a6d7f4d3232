# SPDX-License-Identifier: Apache-2.0
"""What can go wrong while probing.

ProbeError            a known magic, but what follows it cannot be believed
"""

from __future__ import annotations

from typing import ClassVar


class ProbeError(Exception):
    """The device carries a known magic, but its superblock contradicts itself or the device.

    Attributes:
        code: stable identifier, `probe.` and one word: `truncated` (the device ends before what
            the superblock claims), `corrupt` (fields out of range, wrong checksum), `ambiguous`
            (two different signatures, both whole).
        kind: the file system whose magic was found.
    """

    exit_status: ClassVar[int] = 65  # EX_DATAERR, sysexits.h

    def __init__(self, code: str, kind: str, message: str) -> None:
        super().__init__(f"{kind}: {message}")
        self.code = f"probe.{code}"
        self.kind = kind
        self.hint = {
            "probe.truncated": "the image was cut short, or the partition is smaller than its "
            "file system: copy it again, or repair it with the file system's own tools",
            "probe.corrupt": "check it with the file system's own fsck",
            "probe.ambiguous": "remove the stale signature with wipefs(8)",
        }[self.code]

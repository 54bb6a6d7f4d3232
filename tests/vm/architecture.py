# SPDX-License-Identifier: Apache-2.0
"""The two kinds of guest, and how each of the tools calls them."""

from __future__ import annotations

import enum


class Architecture(enum.Enum):
    """A processor; the value is Debian's name for it."""

    AMD64 = "amd64"
    ARM64 = "arm64"

    @property
    def machine(self) -> str:
        """What `uname -m`, QEMU and wheels say."""
        return {"amd64": "x86_64", "arm64": "aarch64"}[self.value]

    @property
    def triplet(self) -> str:
        """The prefix of a cross compiler."""
        return f"{self.machine}-linux-gnu"

    @property
    def console(self) -> str:
        """The kernel's name of the first serial port: ISA, or PL011."""
        return {"amd64": "ttyS0", "arm64": "ttyAMA0"}[self.value]

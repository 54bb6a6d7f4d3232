# SPDX-License-Identifier: Apache-2.0
"""The slot that the bootloader's script told the kernel, from the kernel's command line.

`caflip.slot=A` is what caflip's own scripts append; `rauc.slot=A` is what RAUC's scripts do (RAUC,
contrib/uboot.sh and contrib/grub.conf). Where both stand, ours is believed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from boot.storage import read_at

COMMAND_LINE = Path("/proc/cmdline")
PARAMETERS = ("caflip.slot", "rauc.slot")
LENGTH_LIMIT = 64 << 10
"""Bytes; the largest COMMAND_LINE_SIZE of a Linux architecture is far below this."""


def slot_of(command_line: Path, slots: Sequence[str]) -> str | None:
    """Return the slot named on a command line; None if there is none, or none of `slots`.

    Of a parameter that stands twice the last one counts, as it does for the kernel's own.

    Raises:
        BootloaderMissing, EnvironmentFault: the command line cannot be read.
    """
    found = parameters(command_line)
    for name in PARAMETERS:
        if name in found:
            return found[name] if found[name] in slots else None
    return None


def parameters(command_line: Path) -> dict[str, str]:
    """Return the `name=value` parameters of a kernel command line; of equal names the last one.

    Quotes are not undone: no name of a slot needs any. What follows `--` is for init, not for us.
    """
    text = read_at(command_line, 0, LENGTH_LIMIT).decode("utf-8", "surrogateescape")
    found: dict[str, str] = {}
    for word in text.split():
        if word == "--":
            break
        name, separator, value = word.partition("=")
        if separator:
            found[name] = value
    return found

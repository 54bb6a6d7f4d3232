# SPDX-License-Identifier: Apache-2.0
"""Checks of what a backend is constructed with."""

from __future__ import annotations

import re
from collections.abc import Sequence

from boot.bootloader import MAX_TRIES
from boot.errors import BootSettingInvalid


def checked_slots(slots: Sequence[str], pattern: str = r"[A-Za-z0-9_.-]+") -> tuple[str, ...]:
    """Return the names of the slots.

    Raises:
        BootSettingInvalid: there are none, one stands twice, or the bootloader cannot spell one.
    """
    for name in slots:
        if not re.fullmatch(pattern, name):
            raise BootSettingInvalid(f"{name!r} cannot be the name of a slot of this bootloader")
    if not slots or len(set(slots)) != len(slots):
        raise BootSettingInvalid(f"slots must be named, each once: {', '.join(slots) or 'none'}")
    return tuple(slots)


def checked_tries(tries: int) -> int:
    """Return a number of tries.

    Raises:
        BootSettingInvalid: it is not from 1 to `MAX_TRIES`.
    """
    if not 1 <= tries <= MAX_TRIES:
        raise BootSettingInvalid(f"{tries} tries: from 1 to {MAX_TRIES} can be counted")
    return tries

# SPDX-License-Identifier: Apache-2.0
"""Which of the C kernels of `_native` is used: the CPU's best, or the one that is asked for."""

from __future__ import annotations

import os

from images._native import _kernels
from images.errors import SettingInvalid

KERNEL_VARIABLE = "CAFLIP_KERNEL"
"""The environment variable that forces a kernel, for tests and comparisons."""

_DIGESTING = frozenset(_kernels.digest_kernels())


def choose_kernel() -> str:
    """Name the best kernel of this CPU, or the one that `CAFLIP_KERNEL` asks for.

    Raises:
        SettingInvalid: `CAFLIP_KERNEL` names one that this CPU or this build does not have.
    """
    available = _kernels.kernels()
    wanted = os.environ.get(KERNEL_VARIABLE)
    if not wanted:
        return available[0]
    if wanted not in available:
        raise SettingInvalid(
            f"{KERNEL_VARIABLE}={wanted}: no such kernel on this CPU",
            hint=f"use one of {', '.join(available)}, or unset it",
        )
    return wanted


def choose_digest_kernel() -> str | None:
    """Name the kernel of `choose_kernel` where it digests several pieces at once, else None.

    Raises:
        SettingInvalid: see `choose_kernel`.
    """
    kernel = choose_kernel()
    return kernel if kernel in _DIGESTING else None

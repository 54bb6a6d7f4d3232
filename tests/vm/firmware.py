# SPDX-License-Identifier: Apache-2.0
"""Files of distribution packages that firmware and bootloaders come from, and the EFI machine."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

from tests.capabilities import require_tool
from tests.vm.architecture import Architecture
from tests.vm.machine import Hardware
from tests.vm.variables import Variable, add_variables

CODE = Path("/usr/share/OVMF/OVMF_CODE_4M.fd")
VARIABLES = Path("/usr/share/OVMF/OVMF_VARS_4M.fd")


def required(path: Path, package: str) -> Path:
    """Return a file, or skip (fail under CI), naming the package that has it."""
    if not path.exists():
        require_tool(f"{path} (package {package})")
    return path


def uefi_machine(folder: Path, disk: Path, variables: Iterable[Variable] = ()) -> Hardware:
    """Return a PC with UEFI and variables of its own.

    Never with `bootindex=`: with it OVMF rebuilds BootOrder and deletes entries.
    """
    store = folder / "variables.fd"
    shutil.copyfile(required(VARIABLES, "ovmf"), store)
    add_variables(store, variables)
    return Hardware(Architecture.AMD64, (disk,), firmware=required(CODE, "ovmf"), variables=store)


def bios_machine(disk: Path) -> Hardware:
    """Return a PC that starts the boot sector of its disk."""
    return Hardware(Architecture.AMD64, (disk,))

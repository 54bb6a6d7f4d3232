# SPDX-License-Identifier: Apache-2.0
"""No bootloader: the firmware starts a kernel from the ESP, by its own list of entries.

`Boot####` (UEFI specification 2.10, section 3.1.3): u32 attributes, u16 length of the path, the
description, the path (section 10.3: a hard drive node, a file node, the end), then the kernel's
command line as UTF-16.
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Mapping
from pathlib import Path

from tests.vm.disk import SECTOR, SLOTS, Partition, put_files
from tests.vm.grub import ARGUMENTS
from tests.vm.variables import Variable

NUMBERS = {"A": 0x000A, "B": 0x000B}
_ACTIVE = 1


def install_kernels(disk: Path, kernels: Mapping[str, Path]) -> None:
    """Put each slot's kernel into the ESP."""
    put_files(
        disk,
        {f"EFI/caflip/{slot.lower()}.efi": kernel.read_bytes() for slot, kernel in kernels.items()},
    )


def boot_variables(order: str) -> list[Variable]:
    """Return the entries of both slots and the order, such as `AB`."""
    numbers = [NUMBERS[slot] for slot in order]
    entries = [Variable(f"Boot{NUMBERS[slot]:04X}", load_option(slot)) for slot in SLOTS]
    return [*entries, Variable("BootOrder", struct.pack(f"<{len(numbers)}H", *numbers))]


def load_option(slot: str) -> bytes:
    """Return the value of a slot's `Boot####`."""
    esp = Partition.ESP
    identifier = uuid.UUID(esp.uuid).bytes_le
    drive = struct.pack("<BBHIQQ", 4, 1, 42, esp.number, esp.offset // SECTOR, esp.length // SECTOR)
    name = _text(f"\\EFI\\caflip\\{slot.lower()}.efi")
    path = drive + identifier + b"\2\2" + struct.pack("<BBH", 4, 4, 4 + len(name)) + name
    path += b"\x7f\xff\x04\x00"
    root = f"root=PARTUUID={SLOTS[slot].uuid}"
    arguments = _text(f"{root} ro {ARGUMENTS} caflip.slot={slot}")
    return struct.pack("<IH", _ACTIVE, len(path)) + _text(f"slot {slot}") + path + arguments


def _text(text: str) -> bytes:
    return text.encode("utf-16-le") + b"\0\0"

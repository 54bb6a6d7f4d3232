# SPDX-License-Identifier: Apache-2.0
"""UEFI variables in the flash file of a virtual machine that is off: written, and read.

The layout is EDK II's: MdePkg/Include/Pi/PiFirmwareVolume.h (the volume's header has its length at
48) and MdeModulePkg/Include/Guid/VariableFormat.h (VARIABLE_STORE_HEADER, 28 bytes, then
AUTHENTICATED_VARIABLE_HEADER, 60 bytes, name and value of each variable, aligned to 4).
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

GLOBAL = uuid.UUID("8be4df61-93ca-11d2-aa0d-00e098032b8c")
"""EFI_GLOBAL_VARIABLE; UEFI specification 2.10, section 3.3."""
LOADER = uuid.UUID("4a67b082-0a4c-41cf-b6c7-440b29bb8c4f")
"""systemd's; https://systemd.io/BOOT_LOADER_INTERFACE."""
DURABLE = 7  # NON_VOLATILE, BOOTSERVICE_ACCESS, RUNTIME_ACCESS

_AUTHENTICATED = uuid.UUID("aaf32c78-947b-439a-a180-2e144ec37792")
_STORE = struct.Struct("<16sIBBHI")
_HEADER = struct.Struct("<HBBIQ16sIII16s")
_START = 0x55AA
_ADDED = 0x3F
_VOLUME_HEADER_LENGTH_AT = 48


@dataclass(frozen=True, slots=True)
class Variable:
    """One variable."""

    name: str
    value: bytes
    vendor: uuid.UUID = GLOBAL
    attributes: int = DURABLE


def read_variables(store: Path) -> list[Variable]:
    """List the variables that are valid; deleted ones are passed over."""
    data = store.read_bytes()
    return [variable for state, variable, _ in _records(data) if state == _ADDED]


def value_of(store: Path, name: str) -> bytes | None:
    """Return the value of a variable of any vendor, or None."""
    found = [each.value for each in read_variables(store) if each.name == name]
    return found[-1] if found else None


def add_variables(store: Path, variables: Iterable[Variable]) -> None:
    """Append variables, which must not be there yet."""
    data = bytearray(store.read_bytes())
    end = max([_first(data), *(after for _, _, after in _records(data))])
    for variable in variables:
        name = variable.name.encode("utf-16-le") + b"\0\0"
        lengths = (len(name), len(variable.value))
        head = (_START, _ADDED, 0, variable.attributes, 0, bytes(16), 0)
        record = _HEADER.pack(*head, *lengths, variable.vendor.bytes_le) + name + variable.value
        data[end : end + len(record)] = record
        end += -(-len(record) // 4) * 4
    store.write_bytes(data)


def _first(data: bytes | bytearray) -> int:
    (begin,) = struct.unpack_from("<H", data, _VOLUME_HEADER_LENGTH_AT)
    guid, _, _, _, _, _ = _STORE.unpack_from(data, begin)
    assert uuid.UUID(bytes_le=guid) == _AUTHENTICATED, "not a store of authenticated variables"
    return int(begin) + _STORE.size


def _records(data: bytes | bytearray) -> Iterator[tuple[int, Variable, int]]:
    """Yield state, variable, and the offset after it, of each record."""
    at = _first(data)
    while True:
        start, state, _, attributes, _, _, _, name_length, length, vendor = _HEADER.unpack_from(
            data, at
        )
        if start != _START:
            return
        name_at = at + _HEADER.size
        value_at = name_at + name_length
        name = bytes(data[name_at : value_at - 2]).decode("utf-16-le")
        value = bytes(data[value_at : value_at + length])
        at = -(-(value_at + length) // 4) * 4
        yield state, Variable(name, value, uuid.UUID(bytes_le=vendor), attributes), at

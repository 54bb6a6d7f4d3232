# SPDX-License-Identifier: Apache-2.0
"""Any variable is no load option, or one that is the same after it was written by us."""

from __future__ import annotations

from boot.load_option import build, parse

LONGEST = 512


def fuzz(data: bytes) -> bool:
    option = parse(data)
    if option is None:
        return False
    assert data.endswith(option.data)
    assert "\0" not in option.description and "\0" not in (option.file or "")
    if option.partition is None or option.file is None:
        return True
    partition = option.partition
    assert 0 <= partition.number < 1 << 32
    assert 0 <= partition.first_lba < 1 << 64 and 0 <= partition.lba_count < 1 << 64
    again = parse(build(option.description, option.file, partition, option.command_line))
    assert again is not None and again.active
    assert (again.description, again.partition) == (option.description, partition)
    assert again.file == option.file.replace("/", "\\")
    assert again.command_line == option.command_line
    return True

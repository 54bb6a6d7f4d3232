# SPDX-License-Identifier: Apache-2.0
"""Any fw_env.config is refused, or names one or two places that can be read or told to be wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from boot.errors import BootError, BootSettingInvalid
from boot.flash import medium_at
from boot.media import Location
from boot.uboot_environment import SIZE_LIMIT, StoredEnvironment, parse_config
from tests.fuzz.memory_file import memory_file

LONGEST = 512


def fuzz(data: bytes) -> bool:
    try:
        locations = parse_config(data.decode("utf-8", "surrogateescape"))
    except BootSettingInvalid:
        return False
    assert 1 <= len(locations) <= 2
    for location in locations:
        assert 8 <= location.size <= SIZE_LIMIT
        assert location.sector_size >= 0 and location.sectors >= 0
        _check_device(location)
    with memory_file(bytes(4096)) as path:
        try:
            media = [medium_at(replace(location, device=path)) for location in locations]
            for medium in media:
                assert len(medium.read()) <= medium.location.size
            StoredEnvironment(media, lock=None)
        except BootError:
            pass
    return True


def _check_device(location: Location) -> None:
    """A name below a folder that does not exist can be asked for without touching a device."""
    try:
        medium_at(replace(location, device=Path("/nowhere", str(location.device).lstrip("/"))))
    except BootError:
        return
    raise AssertionError(f"{location.device} below /nowhere")

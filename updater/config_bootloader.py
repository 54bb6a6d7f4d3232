# SPDX-License-Identifier: Apache-2.0
"""The `[bootloader]` table: which backend, and its settings, as `boot.detect` knows them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from boot.detect import BACKENDS
from updater.config_fields import Place, refuse_unknown, table_at

AUTO = "auto"
"""Detect it at every start; better for a first look than for a fleet."""

PATHS = frozenset({"autoboot", "boot", "config", "device", "environment", "esp", "handler"})
"""Settings of the backends that are paths; a test holds this against them."""


@dataclass(frozen=True, slots=True)
class BootloaderConfig:
    """What `boot.detect.open_bootloader` needs, beside the names of the slots.

    Attributes:
        kind: a word of `boot.detect.BACKENDS`, or `auto`.
        settings: of that backend, by its own names; paths are absolute texts.
    """

    kind: str
    settings: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))


def settings_of(kind: str) -> tuple[str, ...]:
    """Return the keys that a kind of bootloader has, as a configuration writes them."""
    backends = BACKENDS.values() if kind == AUTO else [BACKENDS[kind]]
    names = dict.fromkeys(name for backend in backends for name in backend.settings)
    return tuple(name.replace("_", "-") for name in names)


def read_bootloader(place: Place, value: object, folder: Path) -> BootloaderConfig:
    """Read the table.

    Args:
        place: of it.
        value: None where there is none.
        folder: where relative paths start.

    Raises:
        ConfigInvalid: no such kind, no such setting, or a value that makes no sense.
    """
    kinds = (*BACKENDS, AUTO)
    if value is None:
        raise place.error("bootloader.kind is missing", f"it is one of {', '.join(kinds)}")
    table = table_at(place, value)
    kind = table.get("kind")
    if kind is None:
        raise place.error("bootloader.kind is missing", f"it is one of {', '.join(kinds)}")
    if not isinstance(kind, str) or kind not in kinds:
        raise place.below("kind").error(
            f"bootloader.kind is {kind!r}", f"it is one of {', '.join(kinds)}"
        )
    refuse_unknown(place, table, ["kind", *settings_of(kind)])
    settings = {}
    for name, setting in table.items():
        if name != "kind":
            attribute = name.replace("-", "_")
            found = _absolute(attribute, setting, folder)
            _check(place.below(name), kind, attribute, found)
            settings[attribute] = found
    return BootloaderConfig(kind, MappingProxyType(settings))


def _absolute(attribute: str, setting: object, folder: Path) -> object:
    if attribute in PATHS and isinstance(setting, str) and setting:
        return str(folder / setting)
    return setting


def _check(place: Place, kind: str, attribute: str, setting: object) -> None:
    """Let the backends that have the setting look at its value, before anything is opened."""
    for name, backend in BACKENDS.items():
        convert = backend.settings.get(attribute)
        if convert is None or kind not in (name, AUTO):
            continue
        try:
            convert(setting)
        except ValueError as error:
            raise place.error(f"{place.title} is {setting!r}, not {error}") from None

# SPDX-License-Identifier: Apache-2.0
"""The configuration of a device: /etc/caflip/config.toml as frozen records.

Every key is described in docs/configuration.md, which is made from these records. What is not
understood is refused with file and line: nothing is guessed, and no key is ignored.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from images.durable import os_errors
from images.errors import NotAccessible
from updater import config_kinds as kinds
from updater.config_bootloader import BootloaderConfig, read_bootloader
from updater.config_fields import (
    Place,
    key,
    keys_of,
    read_record,
    refuse_unknown,
    table_at,
    with_line,
)
from updater.config_slots import SlotConfig, check_slots, read_slot
from updater.config_tables import (
    TABLES,
    ChannelConfig,
    HealthConfig,
    HooksConfig,
    MetricsConfig,
    PeersConfig,
    Reboot,
    StateConfig,
    StoresConfig,
    TrustConfig,
    UpdateConfig,
)
from updater.errors import ConfigInvalid
from updater.toml_lines import Lines

__all__ = [
    "CONFIG_VARIABLE",
    "DEFAULT_PATH",
    "ChannelConfig",
    "Config",
    "HealthConfig",
    "HooksConfig",
    "MetricsConfig",
    "PeersConfig",
    "Reboot",
    "StateConfig",
    "StoresConfig",
    "TrustConfig",
    "UpdateConfig",
    "config_path",
    "load_config",
    "parse_config",
]

DEFAULT_PATH = Path("/etc/caflip/config.toml")
CONFIG_VARIABLE = "CAFLIP_CONFIG"

MAX_LENGTH = 256 << 10
"""Bytes of a configuration; a long one has four."""


@dataclass(frozen=True, slots=True)
class Config:
    """All of it.

    Attributes:
        path: of the file; relative paths in it start at its folder.
        slots: in the order of the file; `boot_names` has the order of the groups.
    """

    path: Path
    compatible: str = field(
        metadata=key(
            kinds.label,
            "What kind of device this is: only releases for it are installed.",
            '"acme-gateway"',
        )
    )
    bootloader: BootloaderConfig
    slots: tuple[SlotConfig, ...]
    variant: str | None = field(
        default=None,
        metadata=key(
            kinds.label,
            "Which variant of that kind.",
            '"rev-b"',
            unset="it has none",
        ),
    )
    channel: ChannelConfig = field(default_factory=ChannelConfig)
    trust: TrustConfig = field(default_factory=TrustConfig)
    stores: StoresConfig = field(default_factory=StoresConfig)
    update: UpdateConfig = field(default_factory=UpdateConfig)
    hooks: HooksConfig = field(default_factory=HooksConfig)
    health: HealthConfig = field(default_factory=HealthConfig)
    state: StateConfig = field(default_factory=StateConfig)
    metrics: MetricsConfig = field(default_factory=MetricsConfig)
    peers: PeersConfig = field(default_factory=PeersConfig)

    @property
    def boot_names(self) -> tuple[str, ...]:
        """The bootloader's names of the slot groups, in the order they first stand in the file."""
        return tuple(dict.fromkeys(slot.boot for slot in self.slots))

    @property
    def state_folder(self) -> Path:
        """Where state and lock are."""
        return self.state.folder


def config_path(argument: str | None, environment: Mapping[str, str] = os.environ) -> Path:
    """Return which file is the configuration: that of `--config`, of the environment, or ours."""
    return Path(argument or environment.get(CONFIG_VARIABLE) or DEFAULT_PATH)


def load_config(path: Path) -> Config:
    """Read a configuration.

    Raises:
        NotAccessible, DeviceFault: it cannot be read.
        ConfigInvalid: it makes no sense; the message begins with `FILE:LINE:`.
    """
    if not path.exists():
        raise NotAccessible(
            f"configuration {path}: No such file or directory",
            hint=f"write it (docs/configuration.md), or name another: --config, ${CONFIG_VARIABLE}",
        )
    with os_errors(f"configuration {path}"), open(path, "rb") as file:
        data = file.read(MAX_LENGTH + 1)
    if len(data) > MAX_LENGTH:
        raise ConfigInvalid(f"{path}: longer than {MAX_LENGTH} bytes")
    return parse_config(data, path)


def parse_config(data: bytes, path: Path) -> Config:
    """Read the bytes of a configuration; `path` is for messages and relative paths.

    Raises:
        ConfigInvalid: they make no sense.
    """
    document, lines = _parse_toml(data, str(path))
    place = Place(str(path), lines)
    folder = path.absolute().parent
    refuse_unknown(place, document, [*keys_of(Config), "bootloader", "slot", *TABLES])
    records: dict[str, object] = {
        name: read_record(place.below(name), _table(place, document, name, record), record, folder)
        for name, record in TABLES.items()
    }
    slots = _read_slots(place, document, folder)
    bootloader = read_bootloader(place.below("bootloader"), document.get("bootloader"), folder)
    config = read_record(
        place, document, Config, folder, path=path, slots=slots, bootloader=bootloader, **records
    )
    _check_trust(place, config.trust)
    _check_reboot(place, config.update)
    return config


def _parse_toml(data: bytes, name: str) -> tuple[dict[str, object], Lines]:
    try:
        text = data.decode("utf-8")
        document = tomllib.loads(text)
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ConfigInvalid(f"{name}:{line}: not UTF-8") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigInvalid(with_line(name, str(error))) from None
    except (RecursionError, ValueError) as error:  # nested too deep, or a number of many digits
        raise ConfigInvalid(f"{name}: {error}") from None
    return document, Lines.of(text, document)


def _table(
    place: Place, document: Mapping[str, object], name: str, record: type
) -> Mapping[str, object]:
    table = table_at(place.below(name), document.get(name, {}))
    refuse_unknown(place.below(name), table, keys_of(record))
    return table


def _read_slots(
    place: Place, document: Mapping[str, object], folder: Path
) -> tuple[SlotConfig, ...]:
    found = document.get("slot", [])
    if not isinstance(found, list):
        raise place.below("slot").error("slot is not a list of tables", "write [[slot]]")
    places = [place.below("slot", number) for number in range(len(found))]
    slots = tuple(
        read_slot(where, table, folder) for where, table in zip(places, found, strict=True)
    )
    check_slots(place, places, slots)
    return slots


def _check_trust(place: Place, trust: TrustConfig) -> None:
    if trust.fingerprints and trust.threshold > len(trust.fingerprints):
        raise place.below("trust", "threshold").error(
            f"trust.threshold is {trust.threshold}, and there are {len(trust.fingerprints)} "
            "fingerprints: no release could be signed by enough keys"
        )


def _check_reboot(place: Place, update: UpdateConfig) -> None:
    if update.reboot_command and update.reboot is Reboot.NEVER:
        raise place.below("update", "reboot-command").error(
            "update.reboot-command is never called", 'set reboot = "after-update" as well'
        )

# SPDX-License-Identifier: Apache-2.0
"""The tables of a configuration as frozen records: each key with its default and its meaning.

docs/configuration.md is made from the metadata, so the meaning is written for the integrator.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from boot.bootloader import MAX_TRIES
from images.specs import SeedSpec
from updater import config_kinds as kinds
from updater.config_fields import key

DEFAULT_KEYRING = Path("/etc/caflip/trusted.gpg")
DEFAULT_STATE = Path("/var/lib/caflip")


class Reboot(enum.Enum):
    """When the device is restarted; the value is the word in the configuration."""

    NEVER = "never"
    AFTER_UPDATE = "after-update"


def _reboot(value: object, folder: Path) -> Reboot:
    """`never` or `after-update`."""
    try:
        return Reboot(value)
    except ValueError:
        raise ValueError('"never" or "after-update"') from None


@dataclass(frozen=True, slots=True)
class ChannelConfig:
    """Where releases come from."""

    url: str | None = field(
        default=None,
        metadata=key(
            kinds.location,
            "Folder of the releases, with `latest.json` in it.",
            '"https://updates.example.org/stable/"',
            unset="every command has to name the release",
        ),
    )


@dataclass(frozen=True, slots=True)
class TrustConfig:
    """Whose signatures count, until a release rotates the keys."""

    keyring: Path = field(
        default=DEFAULT_KEYRING,
        metadata=key(kinds.path, "Public keys, armored or not.", '"/etc/caflip/trusted.gpg"'),
    )
    fingerprints: tuple[str, ...] = field(
        default=(),
        metadata=key(
            kinds.fingerprints,
            "The primary keys that may sign; others in the keyring count for nothing.",
            '["0123456789ABCDEF0123456789ABCDEF01234567"]',
            unset="all keys of the keyring may sign",
        ),
    )
    threshold: int = field(
        default=1,
        metadata=key(kinds.whole(1, 16), "So many different keys have to sign a release.", "2"),
    )


@dataclass(frozen=True, slots=True)
class StoresConfig:
    """Where chunks come from, beside the stores that a release names."""

    settings: Path | None = field(
        default=None,
        metadata=key(
            kinds.path,
            "How HTTP stores are asked: certificates, tokens, proxies, limits.",
            '"stores.toml"',
            unset="every store is asked in the usual way",
        ),
    )
    extra: tuple[str, ...] = field(
        default=(),
        metadata=key(
            kinds.locations,
            "Stores that are asked for what is still lacking.",
            '["https://mirror.example.org/default.castr"]',
        ),
    )
    cache: Path | None = field(
        default=None,
        metadata=key(
            kinds.path,
            "Folder that is asked first and keeps what is fetched.",
            '"/var/cache/caflip"',
            unset="nothing is kept beside the slots",
        ),
    )
    rate_limit_bps: int | None = field(
        default=None,
        metadata=key(
            kinds.rate, "Most bytes a second from each store.", '"500K"', unset="no limit"
        ),
    )


@dataclass(frozen=True, slots=True)
class UpdateConfig:
    """How an update goes."""

    tries: int = field(
        default=3,
        metadata=key(
            kinds.whole(1, MAX_TRIES),
            "So often a new slot may boot without proving good, before the bootloader falls back.",
            "3",
        ),
    )
    seeds: tuple[SeedSpec, ...] = field(
        default=(),
        metadata=key(
            kinds.seeds,
            "Data beside the slots that may hold chunks of the new image.",
            '["/var/cache/old.caibx:/var/cache/old", "/dev/sda@1M+512M"]',
        ),
    )
    most_download: int | None = field(
        default=None,
        metadata=key(
            kinds.size,
            "An update that would fetch more than that is refused.",
            '"2G"',
            unset="no limit",
        ),
    )
    network_wait_s: float = field(
        default=60.0,
        metadata=key(kinds.seconds, "So long a route to the server is waited for.", "60"),
    )
    device_wait_s: float = field(
        default=10.0,
        metadata=key(kinds.seconds, "So long the devices of the slots are waited for.", "10"),
    )
    reboot: Reboot = field(
        default=Reboot.NEVER,
        metadata=key(_reboot, "Whether the device restarts into a new slot.", '"after-update"'),
    )
    reboot_command: tuple[str, ...] = field(
        default=(),
        metadata=key(
            kinds.command,
            "What restarts the device.",
            '["/usr/bin/systemctl", "reboot"]',
            unset="the system is asked to restart",
        ),
    )


@dataclass(frozen=True, slots=True)
class HooksConfig:
    """Programs that are called around an update; the environment tells them what happens."""

    before: tuple[str, ...] = field(
        default=(),
        metadata=key(
            kinds.command,
            "Before the first byte is written; a failure puts the update off.",
            '["/usr/lib/acme/may-update"]',
            unset="none is called",
        ),
    )
    after: tuple[str, ...] = field(
        default=(),
        metadata=key(
            kinds.command,
            "When the slot is written, before it is activated; a failure stops it there.",
            '["/usr/lib/acme/migrate", "--to-new-slot"]',
            unset="none is called",
        ),
    )
    failed: tuple[str, ...] = field(
        default=(),
        metadata=key(
            kinds.command,
            "After an update has failed.",
            '["/usr/lib/acme/tell"]',
            unset="none is called",
        ),
    )
    timeout_s: float = field(
        default=60.0,
        metadata=key(kinds.seconds, "A hook that takes longer has failed.", "60"),
    )


@dataclass(frozen=True, slots=True)
class HealthConfig:
    """What proves a new slot good after its first boot."""

    commands: tuple[tuple[str, ...], ...] = field(
        default=(),
        metadata=key(
            kinds.commands, "Programs that all have to succeed.", '[["/usr/lib/acme/self-test"]]'
        ),
    )
    services: tuple[str, ...] = field(
        default=(),
        metadata=key(
            kinds.texts, "Units of systemd that all have to be active.", '["acme.service"]'
        ),
    )
    boot_complete: bool = field(
        default=False,
        metadata=key(kinds.truth, "systemd's boot-complete.target has to be reached.", "true"),
    )
    window_s: float = field(
        default=300.0,
        metadata=key(kinds.seconds, "All checks have to pass within so long.", "300"),
    )
    timeout_s: float = field(
        default=30.0,
        metadata=key(kinds.seconds, "A single check that takes longer has failed.", "30"),
    )
    settle_s: float = field(
        default=10.0,
        metadata=key(
            kinds.seconds, "Services have to stay active, without a restart, for so long.", "10"
        ),
    )
    attempts: int = field(
        default=3,
        metadata=key(
            kinds.whole(1, 100), "A check that fails is made again, so often in all.", "3"
        ),
    )


@dataclass(frozen=True, slots=True)
class StateConfig:
    """What the agent remembers."""

    folder: Path = field(
        default=DEFAULT_STATE,
        metadata=key(
            kinds.path,
            "Where state and lock are; outside of the slots, so that both see the same.",
            '"/var/lib/caflip"',
        ),
    )


@dataclass(frozen=True, slots=True)
class MetricsConfig:
    """What monitoring is told."""

    file: Path | None = field(
        default=None,
        metadata=key(
            kinds.path,
            "Written after each update and health check, for node_exporter's textfile collector; "
            "its folder has to be there.",
            '"/var/lib/prometheus/node-exporter/caflip.prom"',
            unset="none is written",
        ),
    )


@dataclass(frozen=True, slots=True)
class PeersConfig:
    """Sharing chunks with neighbours on the LAN; nothing of it happens unless enabled."""

    enabled: bool = field(
        default=False,
        metadata=key(kinds.truth, "Take chunks from neighbours, and give them some.", "true"),
    )
    site_name: str = field(
        default="caflip",
        metadata=key(kinds.label, "Only devices of the same site share.", '"berlin"'),
    )
    secret: Path | None = field(
        default=None,
        metadata=key(
            kinds.path,
            "File with what the devices of the site know and strangers do not, 16 bytes or more.",
            '"/etc/caflip/site-secret"',
            unset="whoever is on the network may ask",
        ),
    )
    discover: bool = field(
        default=True,
        metadata=key(kinds.truth, "Find neighbours by mDNS, and be found.", "false"),
    )
    static: tuple[str, ...] = field(
        default=(),
        metadata=key(
            kinds.endpoints,
            "Neighbours on networks without multicast.",
            '["10.0.0.7:4747", "[fd00::7]:4747"]',
        ),
    )
    port: int = field(
        default=0,
        metadata=key(
            kinds.whole(0, 65535),
            "Where neighbours may ask; 0 for a free port, which only discovery can tell them.",
            "4747",
        ),
    )
    metered: tuple[str, ...] = field(
        default=("wwan*", "ppp*", "rmnet*", "usb*", "tun*", "wg*"),
        metadata=key(
            kinds.texts, "Links that nothing is announced on, by name.", '["wwan*", "eth1"]'
        ),
    )
    rate_limit_bps: int | None = field(
        default=None,
        metadata=key(
            kinds.rate, "Most bytes a second that all neighbours get.", '"2M"', unset="no limit"
        ),
    )
    connections: int = field(
        default=64,
        metadata=key(
            kinds.whole(4, 400),
            "Connections at a time; a single neighbour gets a quarter of them.",
            "64",
        ),
    )


TABLES: Mapping[str, type] = MappingProxyType(
    {
        "channel": ChannelConfig,
        "trust": TrustConfig,
        "stores": StoresConfig,
        "update": UpdateConfig,
        "hooks": HooksConfig,
        "health": HealthConfig,
        "state": StateConfig,
        "metrics": MetricsConfig,
        "peers": PeersConfig,
    }
)
"""The tables whose keys are the fields of a record, by name."""

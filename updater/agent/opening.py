# SPDX-License-Identifier: Apache-2.0
"""From a configuration to a machine that a command can work with."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from boot.bootloader import Bootloader
from boot.detect import detect, open_bootloader
from images.stores.options import StoreOptions, read_settings
from updater.agent.events import AgentSink, Noticed
from updater.agent.machine import Machine, read_boot_id, read_machine_id
from updater.config import Config
from updater.devices import find_slot
from updater.errors import ConfigInvalid
from updater.lock import Lock
from updater.releases.clock import Clock, SystemClock
from updater.running import find_running
from updater.slots import SlotGroup
from updater.state_files import StateFiles


@contextmanager
def open_machine(
    config: Config,
    verb: str,
    sink: AgentSink,
    *,
    running: str | None = None,
    write: bool = True,
    clock: Clock | None = None,
) -> Iterator[Machine]:
    """Find slots and bootloader, read the state, and hold the lock.

    Args:
        config: of this device.
        verb: for whoever finds the lock taken.
        sink: takes events.
        running: the slot that runs, for disk images; `none` for none. None to find out.
        write: False for verbs that only look: they neither lock nor repair.
        clock: None for the system's.

    Raises:
        Locked: another caflip works on this device.
        ConfigInvalid, SlotMissing, SlotUnclear, BootError: it cannot be told what is what.
    """
    if write:
        with Lock(config.state_folder, verb):
            yield _open(config, sink, running, clock)
    else:
        yield _open(config, sink, running, clock)


def open_boot(config: Config) -> Bootloader:
    """Open the configured bootloader, or the one that was detected.

    Raises:
        ConfigInvalid: none is configured and none was detected.
        BootError: its settings make no sense.
    """
    kind = config.bootloader.kind
    if kind == "auto":
        found = detect()
        if found.kind is None:
            raise ConfigInvalid(
                f"no bootloader is configured, and none was detected: {found.reason}",
                hint="set bootloader.kind",
            )
        kind = found.kind
    return open_bootloader(kind, config.boot_names, config.bootloader.settings)


def find_groups(config: Config) -> tuple[SlotGroup, ...]:
    """Find the devices of all slots.

    Raises:
        SlotMissing: one is not there.
        ConfigInvalid: its text makes no sense, or fits two devices.
    """
    groups = []
    for boot in config.boot_names:
        slots = {
            slot.slot_class: find_slot(
                slot.name, slot.slot_class, slot.device, config.update.device_wait_s
            )
            for slot in config.slots
            if slot.boot == boot
        }
        groups.append(SlotGroup(boot, slots))
    return tuple(groups)


def store_options(config: Config) -> StoreOptions:
    """Return how stores are asked.

    Raises:
        SettingInvalid, NotAccessible: the settings file makes no sense.
    """
    stores = config.stores
    return StoreOptions(
        extra_stores=stores.extra,
        cache=stores.cache,
        settings=read_settings(None if stores.settings is None else str(stores.settings)),
        rate_limit_bps=stores.rate_limit_bps,
    )


def _open(config: Config, sink: AgentSink, running: str | None, clock: Clock | None) -> Machine:
    bootloader = open_boot(config)
    groups = find_groups(config)
    files = StateFiles(config.state_folder)
    state = files.load()
    for damage in files.damage:
        sink(Noticed("state.damaged", damage))
    if files.lost:
        sink(
            Noticed(
                "state.lost",
                "what was remembered is lost: an older release could be installed, and keys that "
                "took the place of the configured ones are forgotten",
            )
        )
    for warning in bootloader.read().warnings:
        sink(Noticed("boot.damaged", warning))
    machine = Machine(
        config=config,
        groups=groups,
        found=find_running(groups, bootloader, running),
        bootloader=bootloader,
        files=files,
        state=state,
        stores=store_options(config),
        clock=clock or SystemClock(),
        boot_id=read_boot_id(),
        machine_id=read_machine_id(),
        sink=sink,
    )
    reading = machine.reading()
    if not reading.plausible:
        sink(Noticed("agent.clock", f"the clock is wrong: it is later than {reading.reason}"))
    return machine

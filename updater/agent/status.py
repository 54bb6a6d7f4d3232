# SPDX-License-Identifier: Apache-2.0
"""How this device stands, from what is there now and what is remembered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from boot.bootloader import SlotState
from updater.agent.machine import Machine
from updater.state import SlotRecord


@dataclass(frozen=True, slots=True)
class DeviceStatus:
    """One device of a slot."""

    name: str
    device: str
    length: int


@dataclass(frozen=True, slots=True)
class SlotStatus:
    """One slot.

    Attributes:
        boot: the bootloader's name.
        boot_state, tries_left: what the bootloader thinks of it.
        running: we run from it.
        next: it boots next.
        devices: by class.
        record: what is remembered.
    """

    boot: str
    boot_state: SlotState
    tries_left: int | None
    running: bool
    next: bool
    devices: Mapping[str, DeviceStatus]
    record: SlotRecord


@dataclass(frozen=True, slots=True)
class Status:
    """The device.

    Attributes:
        primary: the slot that the bootloader prefers.
        trust_version: of the keys in force; 0 for those of the configuration.
    """

    compatible: str
    variant: str | None
    bootloader: str
    primary: str | None
    slots: tuple[SlotStatus, ...]
    highest_sequence: int
    trust_version: int


def read_status(machine: Machine) -> Status:
    """Gather it.

    Raises:
        BootError: the bootloader's environment cannot be read.
    """
    boot = machine.bootloader.read()
    slots = []
    for group in machine.groups:
        seen = boot.slot(group.boot)
        slots.append(
            SlotStatus(
                group.boot,
                seen.state,
                seen.tries_left,
                machine.running is not None and machine.running.boot == group.boot,
                boot.next == group.boot,
                {
                    name: DeviceStatus(slot.name, _place(slot.path, slot.offset), slot.length)
                    for name, slot in group.slots.items()
                },
                machine.record(group),
            )
        )
    trust = machine.state.trust
    return Status(
        machine.config.compatible,
        machine.config.variant,
        machine.bootloader.kind,
        boot.primary,
        tuple(slots),
        machine.state.highest_sequence,
        0 if trust is None else trust.version,
    )


def _place(path: object, offset: int) -> str:
    return f"{path}@{offset}" if offset else str(path)

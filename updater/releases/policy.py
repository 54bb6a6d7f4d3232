# SPDX-License-Identifier: Apache-2.0
"""May this device install this release? A pure function of the two, and of the time.

The release was proved before (`proof.prove`): here its content is held against the device.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field

from updater.errors import (
    Expired,
    ImageTooLarge,
    Incompatible,
    Rollback,
    SlotClassUnknown,
)
from updater.releases.clock import Reading
from updater.releases.document import ALL_DEVICES, Release
from updater.releases.times import format_time


@dataclass(frozen=True, slots=True)
class Device:
    """The facts about this device that decide.

    Attributes:
        compatible: what kind of device it is.
        variant: of that kind; None where it has none.
        slot_lengths: bytes of the slot to be written, by class: all classes that change together.
        optional_classes: of these, which keep their content where a release has no image.
        highest_sequence: of all releases that proved good here; 0 before the first.
        machine_id: of this device alone, from machine-id(5); decides the turn in a roll-out.
        reading: of the clock.
    """

    compatible: str
    variant: str | None
    slot_lengths: Mapping[str, int]
    highest_sequence: int
    machine_id: str = field(repr=False)
    reading: Reading
    optional_classes: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Judgement:
    """The release may be installed.

    Attributes:
        turn: whether it is this device's turn in the roll-out; a command by hand may ignore it.
        place: of this device in the roll-out, 0 to 999: its turn comes when `rollout` is higher.
        again: its sequence is the highest that proved good here: nothing new.
        caveats: what could not be judged, in sentences for people.
    """

    turn: bool
    place: int
    again: bool
    caveats: tuple[str, ...]


def judge(release: Release, device: Device) -> Judgement:
    """Decide whether a proved release may be installed.

    Raises:
        Incompatible: it is for other devices.
        Rollback: an older one than a release that proved good here.
        Expired: it is past its date.
        SlotClassUnknown: it has an image for a class that is not here, or lacks one.
        ImageTooLarge: an image is longer than its slot.
    """
    _judge_kind(release, device)
    if release.sequence < device.highest_sequence:
        raise Rollback(
            f"release {release.version!r} has sequence {release.sequence}; "
            f"{device.highest_sequence} proved good here before"
        )
    caveats = judge_time(release, device.reading)
    _judge_slots(release, device)
    place = rollout_place(release, device.machine_id)
    turn = release.rollout is None or place < release.rollout
    return Judgement(turn, place, release.sequence == device.highest_sequence, caveats)


def judge_time(release: Release, reading: Reading) -> tuple[str, ...]:
    """Return what cannot be judged about the time.

    Raises:
        Expired: it is certainly, or by a clock that is plausible, past its date.
    """
    until = format_time(release.expires)
    if reading.lower_bound >= release.expires:
        raise Expired(
            f"release {release.version!r} expired at {until}; it is later than "
            f"{format_time(reading.lower_bound)}, when {reading.reason}"
        )
    if not reading.plausible:
        return (
            f"the clock says {format_time(reading.system)}, which is before "
            f"{format_time(reading.lower_bound)}, when {reading.reason}: whether the release "
            f"expired at {until} cannot be judged",
        )
    if reading.system >= release.expires:
        raise Expired(
            f"release {release.version!r} expired at {until}; it is {format_time(reading.system)}"
        )
    if reading.system < release.created:
        return (
            f"the release was created at {format_time(release.created)}, and the clock says "
            f"{format_time(reading.system)}: it seems to be slow",
        )
    return ()


def rollout_place(release: Release, machine_id: str) -> int:
    """Return this device's place in the order of the roll-out, 0 to 999.

    It depends on the device and the sequence, so that it stays when the same release is published
    again with a larger part, and the first ones are others at the next release. The machine id is
    the key of a MAC and leaves nothing of itself behind, as machine-id(5) asks for.
    """
    message = f"caflip roll-out\0{release.compatible}\0{release.sequence}".encode()
    digest = hmac.digest(machine_id.encode(), message, "sha256")
    return int.from_bytes(digest[:8], "big") * ALL_DEVICES >> 64


def _judge_kind(release: Release, device: Device) -> None:
    if release.compatible != device.compatible:
        raise Incompatible(
            f"release {release.version!r} is for {release.compatible!r}; "
            f"this is {device.compatible!r}"
        )
    if release.variants and device.variant not in release.variants:
        here = "has no variant" if device.variant is None else f"is variant {device.variant!r}"
        raise Incompatible(
            f"release {release.version!r} is for variants {', '.join(release.variants)}; "
            f"this device {here}"
        )


def _judge_slots(release: Release, device: Device) -> None:
    for name in release.images:
        if name not in device.slot_lengths:
            raise SlotClassUnknown(f"the release has an image for {name!r}; there is no such slot")
    for name in device.slot_lengths:
        # Slots change together: one without an image would bring back the content before last.
        if name not in release.images and name not in device.optional_classes:
            raise SlotClassUnknown(f"the release has no image for the slots {name!r}")
    for name, image in release.images.items():
        room = device.slot_lengths[name]
        if image.image_length > room:
            raise ImageTooLarge(
                f"the image for {name!r} has {image.image_length} bytes; the slot has {room}"
            )

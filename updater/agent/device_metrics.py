# SPDX-License-Identifier: Apache-2.0
"""The metrics of this device, from state and bootloader: the same whoever writes the file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime

from boot.bootloader import SlotState
from updater import __version__
from updater.agent.status import SlotStatus, Status
from updater.metrics import Family, Kind, Sample, gauge
from updater.state import Content, ImageRecord, SlotRecord


def device_families(status: Status, failures: int, given_up: int) -> Iterator[Family]:
    """Yield what is so whoever asks: slots, their content, and what was proved.

    Args:
        status: of the device.
        failures: releases that failed and are tried again later.
        given_up: releases that failed and are not.
    """
    yield gauge(
        "caflip_info",
        "What this device is; the value is always 1.",
        [
            Sample(
                1,
                {
                    "version": __version__,
                    "compatible": status.compatible,
                    "variant": status.variant or "",
                    "bootloader": status.bootloader,
                },
            )
        ],
    )
    yield gauge(
        "caflip_highest_sequence",
        "Highest sequence of a release that proved good here.",
        [Sample(status.highest_sequence)],
    )
    yield gauge("caflip_failed_releases", "Releases that failed here and wait.", [Sample(failures)])
    yield gauge(
        "caflip_given_up_releases",
        "Releases that failed here too often to be tried again but by hand.",
        [Sample(given_up)],
    )
    slots = status.slots
    yield _states(
        "caflip_slot_boot_state",
        "What the bootloader thinks of a slot: 1 for the state that it has.",
        slots,
        [state.value for state in SlotState],
        lambda slot: slot.boot_state.value,
    )
    yield _states(
        "caflip_slot_content",
        "How far the content of a slot is: 1 for what is so.",
        slots,
        [content.value for content in Content],
        lambda slot: slot.record.content.value,
    )
    yield _each("caflip_slot_running", "Whether a slot runs.", slots, lambda slot: slot.running)
    yield _each("caflip_slot_next", "Whether a slot boots next.", slots, lambda slot: slot.next)
    yield _each(
        "caflip_slot_tries_left",
        "Boots that a slot has left to prove good.",
        slots,
        lambda slot: slot.tries_left,
    )
    yield _each(
        "caflip_slot_sequence",
        "Sequence of the release in a slot.",
        slots,
        lambda slot: slot.record.sequence,
    )
    yield gauge(
        "caflip_slot_release",
        "Which release a slot holds; the value is always 1.",
        [
            Sample(1, {"slot": slot.boot, "release": slot.record.version})
            for slot in slots
            if slot.record.version
        ],
    )
    yield _each(
        "caflip_slot_write_seconds",
        "From the first run that wrote a slot's content to the end of the last, pauses included.",
        slots,
        lambda slot: _between(slot.record.started, slot.record.finished),
    )
    yield _each(
        "caflip_slot_proved_timestamp_seconds",
        "When a slot proved good.",
        slots,
        lambda slot: None if slot.record.confirmed is None else slot.record.confirmed.timestamp(),
    )
    yield from _counters(slots)
    yield from _images(slots)


def _counters(slots: Sequence[SlotStatus]) -> Iterator[Family]:
    pick: tuple[tuple[str, str, Callable[[SlotRecord], int]], ...] = (
        ("installs", "How often a slot was filled.", lambda record: record.installs),
        ("activations", "How often a slot was to be tried.", lambda record: record.activations),
        ("proofs", "How often a slot proved good.", lambda record: record.confirmations),
    )
    for name, meaning, count in pick:
        samples = [Sample(count(slot.record), {"slot": slot.boot}) for slot in slots]
        yield Family(f"caflip_slot_{name}_total", Kind.COUNTER, meaning, samples)


def _images(slots: Sequence[SlotStatus]) -> Iterator[Family]:
    images = [
        ({"slot": slot.boot, "class": name}, image)
        for slot in slots
        for name, image in slot.record.images.items()
    ]
    yield gauge(
        "caflip_image_source_bytes",
        "Where the bytes of a slot's image came from.",
        [
            Sample(length, {**labels, "source": source})
            for labels, image in images
            for source, length in image.bytes_by_source.items()
        ],
    )
    pick: tuple[tuple[str, str, Callable[[ImageRecord], int]], ...] = (
        ("", "Length of a slot's image.", lambda image: image.image_length),
        ("_written", "What was written of it.", lambda image: image.bytes_written),
        ("_skipped", "What of it was right already.", lambda image: image.bytes_skipped),
        ("_fetched", "What was fetched for it, compressed.", lambda image: image.bytes_fetched),
    )
    for what, meaning, length in pick:
        samples = [Sample(length(image), labels) for labels, image in images]
        yield gauge(f"caflip_image{what}_bytes", meaning, samples)


def _each(
    name: str,
    meaning: str,
    slots: Sequence[SlotStatus],
    value: Callable[[SlotStatus], float | None],
) -> Family:
    """Return a sample for each slot for which there is a value."""
    found = ((slot, value(slot)) for slot in slots)
    samples = [Sample(_plain(one), {"slot": slot.boot}) for slot, one in found if one is not None]
    return gauge(name, meaning, samples)


def _plain(value: float) -> float:
    return int(value) if isinstance(value, bool) else value


def _states(
    name: str,
    meaning: str,
    slots: Sequence[SlotStatus],
    states: list[str],
    state_of: Callable[[SlotStatus], str],
) -> Family:
    """Return a sample for each slot and state, so that a state that ends goes back to 0."""
    samples = [
        Sample(int(state_of(slot) == state), {"slot": slot.boot, "state": state})
        for slot in slots
        for state in states
    ]
    return gauge(name, meaning, samples)


def _between(started: datetime | None, finished: datetime | None) -> float | None:
    if started is None or finished is None or finished < started:
        return None
    return (finished - started).total_seconds()

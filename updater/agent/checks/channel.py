# SPDX-License-Identifier: Apache-2.0
"""Can the channel be reached, and would its newest release be installed?"""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from images.errors import ImageError
from images.locator import HttpUrl, parse_locator
from updater.agent.checks.finding import Finding, Patient, ok, problem, warning
from updater.agent.checks.trust import reading_of
from updater.agent.machine import read_machine_id
from updater.agent.opening import store_options
from updater.network import wait_for_route
from updater.releases.channel import fetch_release, fetcher
from updater.releases.policy import Device, judge
from updater.releases.proof import prove
from updater.releases.signatures import Trust
from updater.slots import SlotGroup

SUBJECT = "channel"


def check_settings(patient: Patient) -> Iterator[Finding]:
    """See that there is a channel, and that the settings of the stores can be read."""
    url = patient.config.channel.url
    try:
        store_options(patient.config)
    except ImageError as error:
        remedy = error.hint or "see stores.settings in docs/configuration.md"
        yield problem(SUBJECT, str(error), remedy)
    if url is None:
        yield warning(
            SUBJECT, "none is configured: every command has to name its release", "set channel.url"
        )
    else:
        yield ok(SUBJECT, f"{url} (`--online` asks it)")


def check_online(patient: Patient) -> Iterator[Finding]:
    """Fetch the newest release, prove it, and hold it against this device."""
    config = patient.config
    if config.channel.url is None:
        return
    location = parse_locator(config.channel.url)
    if isinstance(location, HttpUrl):
        wait_for_route(urlsplit(location.url).hostname or "", 0.0)
    signed = fetch_release(location, fetcher(store_options(config).settings_of))
    reading = reading_of(patient)
    rotated = None if patient.state is None else patient.state.trust
    if rotated is None:
        trust = Trust.load(config.trust.keyring, config.trust.fingerprints, config.trust.threshold)
    else:
        trust = Trust.of(rotated.keyring, rotated.fingerprints, rotated.threshold, rotated.version)
    proved = prove(signed, trust, reading.now)
    named = f"{proved.release.version!r} (sequence {proved.release.sequence})"
    yield ok(SUBJECT, f"the newest release, {named}, is signed by {len(proved.signers)} keys")
    for group in _targets(patient):
        judgement = judge(
            proved.release,
            Device(
                compatible=config.compatible,
                variant=config.variant,
                slot_lengths={name: slot.length for name, slot in group.slots.items()},
                highest_sequence=0 if patient.state is None else patient.state.highest_sequence,
                machine_id=read_machine_id(patient.system.root),
                reading=reading,
            ),
        )
        for caveat in judgement.caveats:
            yield warning(SUBJECT, caveat)
        turn = "" if judgement.turn else ", though it is not this device's turn yet"
        yield ok(SUBJECT, f"it may be installed on slot {group.boot}{turn}")
    if not patient.slots:
        yield problem(SUBJECT, "whether it fits cannot be told: no slot was found")


def _targets(patient: Patient) -> list[SlotGroup]:
    running = None if patient.running is None else patient.running.group
    return [
        group
        for group in patient.groups
        if group.slots and (running is None or group.boot != running.boot)
    ]

# SPDX-License-Identifier: Apache-2.0
"""Could this device verify the next release, today and in two months? And what time is it?"""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import datetime, timedelta

from updater.agent.checks.finding import Finding, Patient, ok, problem, warning
from updater.processes import run
from updater.releases.clock import LONGEST_LIFE, NOT_BEFORE, Reading, read_clock
from updater.releases.gnupg_home import KeyFacts
from updater.releases.keys import list_keyring
from updater.releases.signatures import Trust
from updater.releases.times import format_time
from updater.releases.verdicts import PROGRAM

KEYS = "trusted keys"
CLOCK = "clock"

SOON = timedelta(days=60)
"""Two months: enough to sign, publish and roll out a release that rotates the keys."""

GPG_S = 20.0
OTHERS_MAY_WRITE = 0o022


def check_gpg(patient: Patient) -> Iterator[Finding]:
    """See that gpg is there and starts."""
    ended = run((PROGRAM, "--version"), timeout_s=GPG_S)
    if ended.ok:
        yield ok("gpg", ended.output.partition("\n")[0])
    else:
        yield problem("gpg", ended.reason, "install GnuPG: nothing can be verified without it")


def check_keys(patient: Patient) -> Iterator[Finding]:
    """Read the keys in force, and see how long they last."""
    config = patient.config.trust
    rotated = None if patient.state is None else patient.state.trust
    if rotated is None:
        trust = Trust.load(config.keyring, config.fingerprints, config.threshold)
        where = str(config.keyring)
        if os.stat(config.keyring).st_mode & OTHERS_MAY_WRITE:
            yield problem(
                KEYS,
                f"{where} can be written by others than its owner, who could add keys",
                f"chmod go-w {where}",
            )
    else:
        trust = Trust.of(rotated.keyring, rotated.fingerprints, rotated.threshold, rotated.version)
        where = f"the state, version {rotated.version} by rotation"
    pinned = "all of them" if rotated is None and not config.fingerprints else "pinned"
    yield ok(
        KEYS,
        f"{len(trust.fingerprints)} ({pinned}) in {where};"
        f" {trust.threshold} have to sign a release",
    )
    keys = [key for key in list_keyring(trust.keyring) if key.fingerprint in trust.fingerprints]
    yield from judge_keys(keys, trust.threshold, reading_of(patient).now)


def judge_keys(keys: list[KeyFacts], threshold: int, now: datetime) -> Iterator[Finding]:
    """Tell which keys are over or soon will be, and whether enough are left."""
    rotate = "publish a release that rotates the keys, signed by those that are still valid"
    for key in keys:
        name = f"{key.fingerprint} ({key.user_id})"
        state = key.state(now)
        if state != "valid":
            yield warning(KEYS, f"{name} is {state}", rotate)
        elif key.expires is not None and key.expires - now <= SOON:
            days = (key.expires - now).days
            yield warning(
                KEYS, f"{name} expires in {days} days, at {format_time(key.expires)}", rotate
            )
    valid = sum(key.state(now) == "valid" for key in keys)
    if valid < threshold:
        yield problem(
            KEYS,
            f"{valid} valid keys are left and {threshold} have to sign:"
            " no release can be installed any more",
            "bring a new keyring onto the device by other means",
        )


def check_clock(patient: Patient) -> Iterator[Finding]:
    """Compare the clock with what is known to be past."""
    reading = reading_of(patient)
    says = f"it says {format_time(reading.system)}"
    set_it = "set it: NTP, a clock with a battery, or systemd's saved time"
    if not reading.plausible:
        text = f"{says}, before {format_time(reading.lower_bound)}, when {reading.reason}"
        url = patient.config.channel.url or ""
        if url.startswith("https:"):
            yield problem(CLOCK, f"{text}: certificates of servers are not valid yet", set_it)
        else:
            yield warning(CLOCK, f"{text}: what has expired cannot be told", set_it)
    elif reading.system > NOT_BEFORE + LONGEST_LIFE:
        yield warning(CLOCK, f"{says}, which is decades ahead: releases look expired", set_it)
    else:
        yield ok(CLOCK, says)


def reading_of(patient: Patient) -> Reading:
    """Read the clock, against the state as far as there is one."""
    state = patient.state
    return read_clock(
        patient.clock,
        last_signed=None if state is None else state.last_signed,
        state_written=None if state is None else state.written,
    )

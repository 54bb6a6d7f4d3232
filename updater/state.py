# SPDX-License-Identifier: Apache-2.0
"""What the agent remembers of this device, and how that changes: records and pure functions.

Records only hint. Whether a slot's content is right is decided by digests, which slot boots by the
bootloader; what is lost here costs a repetition, never a slot. The exceptions are the highest
sequence and the trusted keys, which nothing else knows: without them an old release would do.
How it is kept on the medium: `state_files`.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

SCHEMA = 1
"""Rises only when an older caflip would do harm with what a later one wrote. A field that is added
does not: after a fall back the older caflip has to be able to say so."""

MOST_HISTORY = 64
MOST_FAILURES = 16

FIRST_BACKOFF = timedelta(hours=1)
LONGEST_BACKOFF = timedelta(days=7)
MOST_FAILED_TRIES = 3
"""Boots of one release that failed; after these it is tried again only by hand."""


class Content(enum.Enum):
    """How far a slot is; the value is the word that users see."""

    EMPTY = "empty"
    WRITING = "writing"
    VERIFIED = "verified"
    ACTIVE = "active"  # made primary, not proved yet
    GOOD = "good"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """One image of a slot.

    Attributes:
        index_sha256: names the index that is kept beside the state.
        bytes_by_source: of the last writing; they add up to the image.
    """

    index_sha256: bytes
    image_length: int
    bytes_by_source: Mapping[str, int] = field(default_factory=dict)
    bytes_written: int = 0
    bytes_skipped: int = 0
    bytes_fetched: int = 0


@dataclass(frozen=True, slots=True)
class SlotRecord:
    """What a slot was given and what became of it.

    Attributes:
        release: digest of the candidate.
        transaction: of the update, the same in every run that continues it.
        attempts: runs that this transaction has taken so far.
        boot_id: of the boot that made it primary.
        installs, activations, confirmations: how often, in all.
    """

    content: Content = Content.EMPTY
    release: bytes = b""
    version: str = ""
    sequence: int | None = None
    images: Mapping[str, ImageRecord] = field(default_factory=dict)
    started: datetime | None = None
    finished: datetime | None = None
    activated: datetime | None = None
    confirmed: datetime | None = None
    installs: int = 0
    activations: int = 0
    confirmations: int = 0
    attempts: int = 0
    last_error: str | None = None
    transaction: str = ""
    boot_id: str = ""
    agent_version: str = ""


@dataclass(frozen=True, slots=True)
class Failure:
    """A release that did not prove good.

    Attributes:
        count: how often.
        not_before: when it may be tried again without being asked for by hand; None for never.
        reason: of the last time.
    """

    count: int
    not_before: datetime | None
    reason: str


@dataclass(frozen=True, slots=True)
class TrustRecord:
    """The keys that took the place of the configured ones by rotation."""

    version: int
    fingerprints: tuple[str, ...]
    threshold: int
    keyring: bytes


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the history."""

    time: datetime
    what: str
    slot: str | None = None
    version: str | None = None
    message: str | None = None


@dataclass(frozen=True, slots=True)
class Rates:
    """Bytes a second of the last update that did something, by phase of the engine."""

    by_phase: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class State:
    """All that is remembered.

    Attributes:
        generation: rises by one with every write.
        written: when, by a clock that was plausible then; None for never.
        highest_sequence: of all releases that proved good.
        last_signed: `created` of the newest release that proved good.
        slots: by the bootloader's name.
        pending_trust: what the release being tried brings, in force once it proves good.
        failures: by release digest in hexadecimal, the newest last.
    """

    schema: int = SCHEMA
    generation: int = 0
    written: datetime | None = None
    highest_sequence: int = 0
    last_signed: datetime | None = None
    slots: Mapping[str, SlotRecord] = field(default_factory=dict)
    trust: TrustRecord | None = None
    pending_trust: TrustRecord | None = None
    pending_created: datetime | None = None
    failures: Mapping[str, Failure] = field(default_factory=dict)
    history: tuple[Entry, ...] = ()
    rates: Rates = Rates()

    def slot(self, name: str) -> SlotRecord:
        """Return the record of a slot; a fresh one where there is none."""
        return self.slots.get(name, SlotRecord())

    def with_slot(self, name: str, record: SlotRecord) -> State:
        """Return the state with another record of a slot."""
        return replace(self, slots={**self.slots, name: record})

    def noted(self, entry: Entry) -> State:
        """Return the state with one more line of history; the oldest ones go."""
        return replace(self, history=(*self.history, entry)[-MOST_HISTORY:])

    def failed(
        self, release: bytes, reason: str, now: datetime, *, for_good: bool = False
    ) -> State:
        """Return the state after a release did not prove good: it waits longer every time.

        Args:
            release: its digest.
            reason: for people.
            now: from which the waiting counts.
            for_good: never try it again unless by hand.
        """
        key = release.hex()
        count = self.failures[key].count + 1 if key in self.failures else 1
        # The exponent is bounded by MOST_FAILED_TRIES, not by what an old state may say.
        backoff = min(FIRST_BACKOFF * 8 ** min(count - 1, MOST_FAILED_TRIES), LONGEST_BACKOFF)
        again = count < MOST_FAILED_TRIES and not for_good
        not_before = now + backoff if again else None
        others = {name: found for name, found in self.failures.items() if name != key}
        kept = dict(list(others.items())[-(MOST_FAILURES - 1) :])
        return replace(self, failures={**kept, key: Failure(count, not_before, reason)})

    def proved(self, slot: str, now: datetime) -> State:
        """Return the state after the running slot proved good: sequence and keys move up."""
        record = self.slot(slot)
        failures = {key: f for key, f in self.failures.items() if key != record.release.hex()}
        good = replace(
            record,
            content=Content.GOOD,
            confirmed=now,
            confirmations=record.confirmations + 1,
            last_error=None,
        )
        moved = replace(
            self,
            highest_sequence=max(self.highest_sequence, record.sequence or 0),
            failures=failures,
        ).with_slot(slot, good)
        if record.content is not Content.ACTIVE:
            return moved
        trust = self.pending_trust
        if trust is None or (self.trust is not None and trust.version <= self.trust.version):
            trust = self.trust
        signed = [t for t in (self.last_signed, self.pending_created) if t is not None]
        return replace(
            moved,
            trust=trust,
            last_signed=max(signed, default=None),
            pending_trust=None,
            pending_created=None,
        )

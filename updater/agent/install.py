# SPDX-License-Identifier: Apache-2.0
"""The order of one update. Every step is durable before the next begins.

    verify      signatures over the raw bytes, then the parser          nothing is written
    policy      kind of device, sequence, date, turn, room              nothing is written
    hooks       `before` may put it off                                 nothing is written
    mark bad    the target cannot boot from here on                     boot environment
    write       what differs, from the cheapest source                  target
    settle      flushed, read back from the medium, recognised          target
    record      what the slot holds                                     state
    activate    primary, with N tries: the last write                   boot environment

Cut anywhere, run again: verification and policy repeat harmlessly, the target is its own journal,
and the last two steps come out the same. Run again when done, it writes nothing.
"""

from __future__ import annotations

import enum
import secrets
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

from boot.bootloader import SlotState
from images.check import verify
from images.errors import ImageError, VerifyFailed
from images.planning import Plan
from images.sources import Source
from updater import __version__
from updater.agent.candidate import Candidate
from updater.agent.events import Step, StepBegan
from updater.agent.machine import Machine, target_of
from updater.agent.proving import is_running, note_fallback
from updater.agent.seeding import seeds_for
from updater.agent.sharing import Chunks, open_chunks
from updater.agent.writing import ImageReport, write_image
from updater.errors import GivenUp, NotStaged, TooDear
from updater.hooks import HookFacts, run_hooks
from updater.slots import SlotGroup, refuse_active
from updater.state import Content, ImageRecord, Rates, SlotRecord, TrustRecord
from updater.units import count_of

if TYPE_CHECKING:
    from updater.peers.client import PeerReport


class Outcome(enum.Enum):
    """How an update ended well; the value is what users see."""

    NOTHING_TO_DO = "nothing to do"
    AWAITING_REBOOT = "awaiting reboot"
    NOT_OUR_TURN = "not this device's turn yet"
    APPLIED = "applied, not activated"
    ACTIVATED = "activated, boots next"
    PROVISIONED = "provisioned, boots from now on"


@dataclass(frozen=True, slots=True)
class UpdateReport:
    """What an update did.

    Attributes:
        slot: the bootloader's name of the target.
        images: what was written, by class in the order of writing; empty where nothing was done.
        seconds: wall time of the whole.
        neighbours: what each of them gave.
    """

    outcome: Outcome
    version: str
    sequence: int | None
    slot: str
    images: tuple[ImageReport, ...] = ()
    caveats: tuple[str, ...] = ()
    seconds: float = 0.0
    neighbours: tuple[PeerReport, ...] = ()


def update(
    machine: Machine,
    target: SlotGroup,
    candidate: Candidate,
    *,
    by_hand: bool = False,
    activate: bool = True,
    offline: bool = False,
) -> UpdateReport:
    """Bring a candidate onto the target slot, and let it boot next.

    Args:
        machine: this device, locked.
        target: a slot that does not run.
        candidate: proved and judged.
        by_hand: somebody asks for it: neither the roll-out nor earlier failures count.
        activate: make it primary.
        offline: take chunks from seeds and the cache only.

    Raises:
        GivenUp: it failed here before, and its time has not come.
        NotProved: the running slot is not proved.
        HookFailed, TooDear, SlotActive, ImageError, BootError: see there; what was brought stays,
            and the next run goes on from there.
    """
    started = time.monotonic()
    if machine.running is not None:
        note_fallback(machine, machine.bootloader.read())
    outcome = _settled_before(machine, target, candidate)
    if outcome is None and not by_hand:
        _refuse_given_up(machine, candidate)
        if not candidate.turn:
            outcome = Outcome.NOT_OUR_TURN
    if outcome is not None:
        return UpdateReport(
            outcome,
            candidate.version,
            candidate.sequence,
            target.boot,
            (),
            candidate.caveats,
            time.monotonic() - started,
        )
    try:
        images, neighbours = _apply(machine, target, candidate, offline)
        if activate:
            _activate(machine, target, candidate)
    except BaseException as error:
        _tell_of_failure(machine, target, candidate, error)
        raise
    return UpdateReport(
        Outcome.ACTIVATED if activate else Outcome.APPLIED,
        candidate.version,
        candidate.sequence,
        target.boot,
        images,
        candidate.caveats,
        time.monotonic() - started,
        neighbours,
    )


def activate_applied(machine: Machine, target: SlotGroup, candidate: Candidate) -> UpdateReport:
    """Let a slot that was filled before boot next, after another look at its content.

    Raises:
        NotStaged: the slot was not filled with this candidate.
        VerifyFailed: its content is not what it was.
        NotProved: the running slot is not proved.
    """
    started = time.monotonic()
    outcome = _settled_before(machine, target, candidate)
    if outcome is None:
        machine.require_proved(machine.bootloader.read())
        record = machine.record(target)
        if record.release != candidate.digest or record.content not in (
            Content.VERIFIED,
            Content.ACTIVE,
        ):
            raise NotStaged(
                f"slot {target.boot} does not hold {candidate.version!r}",
                hint="`caflip apply` comes first",
            )
        for slot_class, image in candidate.images.items():
            slot = target.slots[slot_class]
            machine.sink(StepBegan(Step.SETTLE, slot.name))
            right = verify(image.index, slot.path, offset=slot.offset, sink=machine.sink)
            if 0 in right:
                raise VerifyFailed(
                    f"{right.count(0)} chunks of slot {slot.name} are not what they were",
                    hint="`caflip apply` mends them",
                )
        _activate(machine, target, candidate)
        outcome = Outcome.ACTIVATED
    return UpdateReport(
        outcome,
        candidate.version,
        candidate.sequence,
        target.boot,
        (),
        candidate.caveats,
        time.monotonic() - started,
    )


def _settled_before(machine: Machine, target: SlotGroup, candidate: Candidate) -> Outcome | None:
    """Tell whether the candidate runs already, or is about to; None if there is work to do."""
    boot = machine.bootloader.read()
    running, waiting = machine.running, machine.record(target)
    if (
        running is not None
        and is_running(machine, candidate.digest)
        and boot.slot(running.boot).state is SlotState.GOOD
    ):
        return Outcome.NOTHING_TO_DO
    activated = (waiting.release, waiting.content) == (candidate.digest, Content.ACTIVE)
    return Outcome.AWAITING_REBOOT if activated and boot.next == target.boot else None


def _refuse_given_up(machine: Machine, candidate: Candidate) -> None:
    failure = machine.state.failures.get(candidate.digest.hex())
    if failure is None:
        return
    if failure.not_before is None:
        raise GivenUp(
            f"release {candidate.version!r} failed here {count_of(failure.count, 'time')}: "
            f"{failure.reason}"
        )
    if machine.now() < failure.not_before:
        raise GivenUp(
            f"release {candidate.version!r} failed here: {failure.reason}; "
            f"it is tried again after {failure.not_before:%Y-%m-%d %H:%M} UTC"
        )


def _apply(
    machine: Machine, target: SlotGroup, candidate: Candidate, offline: bool
) -> tuple[tuple[ImageReport, ...], tuple[PeerReport, ...]]:
    """Fill the target's devices and record what they hold; tell what neighbours gave, too."""
    machine.require_proved(machine.bootloader.read())
    for slot in target.slots.values():
        refuse_active(slot, machine.running)
    facts = _facts(target, candidate)
    run_hooks(machine.config.hooks, "before", facts, machine.sink)
    writing = _Writing(machine, target, candidate)
    reports = []
    with open_chunks(machine, target, candidate, taking=True, offline=offline) as chunks:
        for slot_class, image in candidate.images.items():
            slot = target.slots[slot_class]
            machine.sink(StepBegan(Step.WRITE, slot.name))
            reports.append(
                write_image(
                    slot_class,
                    image.index,
                    target_of(slot),
                    expected=image.file_system,
                    seeds=seeds_for(machine, target, slot_class),
                    stores=chunks.chain,
                    approve=partial(writing.approve, slot_class, chunks),
                    sink=machine.sink,
                )
            )
        neighbours = chunks.reports
    run_hooks(machine.config.hooks, "after", facts, machine.sink)
    machine.sink(StepBegan(Step.RECORD, target.boot))
    for slot_class, image in candidate.images.items():
        machine.files.keep_index(target.boot, slot_class, image.index)
    writing.record_verified(reports)
    return tuple(reports), neighbours


def _activate(machine: Machine, target: SlotGroup, candidate: Candidate) -> None:
    """Record that the slot is to be tried, then make it primary: the last write."""
    record = machine.record(target)
    machine.sink(StepBegan(Step.ACTIVATE, target.boot))
    trust = candidate.next_trust
    machine.state = replace(
        machine.state,
        pending_created=candidate.created,
        pending_trust=None
        if trust is None
        else TrustRecord(trust.version, trust.fingerprints, trust.threshold, trust.keyring),
    )
    machine.remember_slot(
        target,
        replace(
            record,
            content=Content.ACTIVE,
            activated=machine.now(),
            activations=record.activations + 1,
            boot_id=machine.boot_id,
        ),
        "activated",
    )
    machine.bootloader.set_primary(target.boot, machine.config.update.tries)


class _Writing:
    """One writing of one slot: what happens before its first byte, and after its last."""

    def __init__(self, machine: Machine, target: SlotGroup, candidate: Candidate) -> None:
        self._machine = machine
        self._target = target
        self._candidate = candidate
        self._to_fetch = 0
        self._marked = False

    def approve(self, slot_class: str, chunks: Chunks, plan: Plan) -> None:
        """Refuse what is too dear; else, once, make sure that what is written to cannot boot."""
        chunks.planned(slot_class, plan)
        self._to_fetch += _bytes_to_fetch(plan)
        most = self._machine.config.update.most_download
        if most is not None and self._to_fetch > most:
            raise TooDear(
                f"the update would fetch up to {self._to_fetch} bytes; {most} are allowed"
            )
        if self._marked or not plan.bytes_to_write:
            return
        machine, target = self._machine, self._target
        machine.sink(StepBegan(Step.MARK_BAD, target.boot))
        machine.bootloader.mark_bad(target.boot)
        before = machine.record(target)
        continued = before.release == self._candidate.digest and before.content is Content.WRITING
        begun = before if continued else self._begun(before)
        machine.remember_slot(target, replace(begun, attempts=begun.attempts + 1), "writing")
        self._marked = True

    def record_verified(self, reports: Sequence[ImageReport]) -> None:
        """Record that the slot holds the candidate."""
        machine, target = self._machine, self._target
        record = machine.record(target)
        if not self._marked:  # all of it was there already
            record = self._begun(record)
        machine.state = replace(machine.state, rates=_rates(reports, machine.state.rates))
        machine.remember_slot(
            target,
            replace(
                record,
                content=Content.VERIFIED,
                images=_image_records(self._candidate, reports),
                finished=machine.now(),
                installs=record.installs + 1,
                last_error=None,
            ),
            "verified",
        )

    def _begun(self, before: SlotRecord) -> SlotRecord:
        return SlotRecord(
            content=Content.WRITING,
            release=self._candidate.digest,
            version=self._candidate.version,
            sequence=self._candidate.sequence,
            started=self._machine.now(),
            installs=before.installs,
            activations=before.activations,
            confirmations=before.confirmations,
            transaction=secrets.token_hex(8),
            boot_id=self._machine.boot_id,
            agent_version=__version__,
        )


def _bytes_to_fetch(plan: Plan) -> int:
    """Return the bytes to download: exact where the stores told, else before compression."""
    if plan.download_length is not None:
        return plan.download_length
    share = plan.shares.get(Source.STORE)
    return 0 if share is None else share.bytes


def _image_records(
    candidate: Candidate, reports: Sequence[ImageReport]
) -> Mapping[str, ImageRecord]:
    return {
        report.slot_class: ImageRecord(
            candidate.images[report.slot_class].index_sha256,
            report.image_bytes,
            {source.name.lower(): share.bytes for source, share in report.sources.items()},
            report.bytes_written,
            report.bytes_skipped,
            report.bytes_fetched,
        )
        for report in reports
    }


def _rates(reports: Sequence[ImageReport], before: Rates) -> Rates:
    """Return bytes a second by phase, where enough was done to tell; else what was known."""
    by_phase = dict(before.by_phase)
    for report in reports:
        for phase, seconds in report.seconds.items():
            if seconds >= 0.5 and report.bytes_written:
                by_phase[phase.value] = report.image_bytes / seconds
    return Rates(by_phase)


def _facts(target: SlotGroup, candidate: Candidate) -> HookFacts:
    return HookFacts(
        version=candidate.version,
        sequence=candidate.sequence,
        slot=target.boot,
        devices={name: slot.path for name, slot in target.slots.items()},
        offsets={name: slot.offset for name, slot in target.slots.items()},
    )


def _tell_of_failure(
    machine: Machine, target: SlotGroup, candidate: Candidate, error: BaseException
) -> None:
    """Note why, as far as the state can still be written, and call the `failed` hooks."""
    record = machine.record(target)
    if record.release == candidate.digest and record.last_error != str(error):
        with suppress(ImageError):  # the first error says more
            machine.remember_slot(target, replace(record, last_error=str(error)), "failed")
    if isinstance(error, Exception):
        facts = replace(_facts(target, candidate), error=str(error))
        run_hooks(machine.config.hooks, "failed", facts, machine.sink)

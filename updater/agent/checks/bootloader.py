# SPDX-License-Identifier: Apache-2.0
"""Is it the right bootloader, is its environment whole, and what can it not promise?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from boot.detect import Detection, detect, open_bootloader
from updater.agent.checks.finding import Finding, Patient, ok, problem, warning
from updater.config_bootloader import AUTO

SUBJECT = "bootloader"
ENVIRONMENT = "boot environment"
BLESS = "systemd-bless-boot.service"

# systemd.unit(5), in the order of precedence: the first that has the unit counts.
UNIT_FOLDERS = (
    "/etc/systemd/system",
    "/run/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
)


def check_kind(patient: Patient) -> Iterator[Finding]:
    """Hold the configured bootloader against what started this system, and open it."""
    kind = patient.config.bootloader.kind
    seen = detect(patient.system.root)
    if patient.is_image and kind != AUTO:
        yield ok(SUBJECT, f"{kind}, as configured; the slots are files, so none is looked for here")
    else:
        yield _compared(kind, seen)
    if kind == AUTO:
        if seen.kind is None:
            return
        kind = seen.kind
    config = patient.config
    patient.bootloader = open_bootloader(kind, config.boot_names, config.bootloader.settings)


def check_environment(patient: Patient) -> Iterator[Finding]:
    """Read what it is told, and name every copy that is not whole."""
    if patient.bootloader is None:
        return
    boot = patient.boot = patient.bootloader.read()
    for text in boot.warnings:
        yield warning(ENVIRONMENT, text, "the next update writes it anew; so does `mark-good`")
    slots = ", ".join(
        f"{slot.name} {slot.state.value}"
        + ("" if slot.tries_left is None else f" with {slot.tries_left} tries")
        for slot in boot.slots
    )
    if boot.next is None:
        yield problem(
            ENVIRONMENT,
            f"no slot would boot: {slots}",
            "`caflip mark-good` for the running slot, or install a release",
        )
    else:
        yield ok(ENVIRONMENT, f"it can be read: {slots}; {boot.next} boots next")


def check_weaknesses(patient: Patient) -> Iterator[Finding]:
    """Name what this set-up cannot promise."""
    if patient.bootloader is not None:
        for text in patient.bootloader.weaknesses():
            yield warning(SUBJECT, text, f"see docs/boot/{patient.bootloader.kind}.md")


def check_blessing(patient: Patient) -> Iterator[Finding]:
    """See that nobody else calls a boot good, where systemd-boot counts."""
    if patient.bootloader is None or patient.bootloader.kind != "systemd-boot" or patient.is_image:
        return
    for folder in UNIT_FOLDERS:
        path = patient.system.path(f"{folder}/{BLESS}")
        if path.is_symlink() or path.exists():
            if _masks(path):
                yield ok(SUBJECT, f"{BLESS} is masked")
            else:
                yield problem(
                    SUBJECT,
                    f"{BLESS} is not masked: it calls a boot good that caflip has not proved",
                    f"`systemctl mask {BLESS}`, in the image",
                )
            return
    yield ok(SUBJECT, f"there is no {BLESS}")


def _compared(kind: str, seen: Detection) -> Finding:
    if kind == AUTO:
        if seen.kind is None:
            return problem(
                SUBJECT,
                f"none is configured, and none was detected: {seen.reason}",
                "set bootloader.kind",
            )
        return warning(
            SUBJECT,
            f"detected {seen.kind}: {seen.reason}",
            f'set bootloader.kind = "{seen.kind}": a fleet should not depend on what is detected',
        )
    if seen.kind is None or kind == "custom":
        return ok(SUBJECT, f"{kind}, as configured; here is {seen.reason}")
    if any(item.kind == kind for item in seen.evidence):
        reason = next(item.seen for item in seen.evidence if item.kind == kind)
        if seen.kind == kind:
            return ok(SUBJECT, f"{kind}: {reason}")
        return warning(
            SUBJECT,
            f"{kind} is configured, which {reason} speaks for; but {seen.kind} seems to choose:"
            f" {seen.reason}",
            "see which of them chooses the slot; the last one of a chain does",
        )
    return warning(
        SUBJECT,
        f"{kind} is configured, and nothing here speaks for it; for {seen.kind} does:"
        f" {seen.reason}",
        f'if {seen.kind} chooses the slot, set bootloader.kind = "{seen.kind}"',
    )


def _masks(path: Path) -> bool:
    """Whether a unit file is a mask: a link to /dev/null, or an empty file; systemd.unit(5)."""
    if path.is_symlink() and str(path.readlink()) == "/dev/null":
        return True
    return path.is_file() and path.stat().st_size == 0

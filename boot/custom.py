# SPDX-License-Identifier: Apache-2.0
"""Any other bootloader, through a program of the integrator's; and caflip as such a program.

The protocol is that of RAUC's custom bootloader backend (RAUC, src/bootloaders/custom.c):

    get-primary                 prints the name of the slot that is preferred
    set-primary NAME
    get-state NAME              prints good or bad; for caflip also: trying, trying N
    set-state NAME good|bad
    get-current                 prints the slot that runs; may be left out

The number of tries goes to `set-primary` in the environment variable CAFLIP_TRIES, which a handler
that was written for RAUC does not look at.
"""

from __future__ import annotations

import os
import re
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from boot.bootloader import Bootloader, BootState, SlotBoot, SlotState, unknown_slot
from boot.command_line import COMMAND_LINE, slot_of
from boot.errors import (
    BootloaderMissing,
    BootSettingInvalid,
    EnvironmentFault,
    EnvironmentInvalid,
)
from boot.settings import checked_slots, checked_tries

TRIES_VARIABLE = "CAFLIP_TRIES"
OUTPUT_LIMIT = 4096
"""Bytes that a handler may print; the longest answer is a slot's name."""

TIMEOUT_S = 30.0


class Custom:
    """See `boot.bootloader.Bootloader`.

    Args:
        slots: the handler's names of the slots.
        handler: the program.
        timeout_s: how long one call may take; then it is killed.
        command_line: where the running slot may stand, if the handler does not know it.

    Raises:
        BootSettingInvalid: one of these makes no sense.
    """

    kind = "custom"
    counts = False

    def __init__(
        self,
        slots: Sequence[str],
        *,
        handler: Path,
        timeout_s: float = TIMEOUT_S,
        command_line: Path = COMMAND_LINE,
    ) -> None:
        self.slots = checked_slots(slots)
        if not handler.is_absolute() or not timeout_s > 0:
            raise BootSettingInvalid("handler is an absolute path, and the timeout is above 0")
        self._handler = handler
        self._timeout_s = timeout_s
        self._command_line = command_line

    def running(self) -> str | None:
        """See `Bootloader`."""
        try:
            name = self._call("get-current")
        except EnvironmentFault:
            name = ""  # RAUC's protocol lets a handler do without
        return name if name in self.slots else slot_of(self._command_line, self.slots)

    def read(self) -> BootState:
        """See `Bootloader`. A handler of RAUC's knows no trials: such a slot reads as good."""
        primary = self._call("get-primary")
        if primary and primary not in self.slots:
            raise EnvironmentInvalid(f"{self._handler} get-primary: {primary!r} is no slot")
        slots = tuple(self._state(name) for name in self.slots)
        bootable = [slot.name for slot in slots if _bootable(slot)]
        preferred = primary if primary in bootable else None
        return BootState(slots, primary or None, preferred or next(iter(bootable), None))

    def set_primary(self, slot: str, tries: int) -> None:
        """See `Bootloader`."""
        self._known(slot)
        tries = checked_tries(tries)
        before = self.read()
        if (before.primary, before.slot(slot)) == (slot, SlotBoot(slot, SlotState.TRYING, tries)):
            return
        self._call("set-primary", slot, tries=tries)

    def mark_good(self, slot: str) -> None:
        """See `Bootloader`."""
        self._known(slot)
        before = self.read()
        if before.primary != slot:
            self._call("set-primary", slot, tries=1)
        elif before.slot(slot).state is SlotState.GOOD:
            return
        self._call("set-state", slot, "good")

    def mark_bad(self, slot: str) -> None:
        """See `Bootloader`."""
        self._known(slot)
        if self._state(slot).state is not SlotState.BAD:
            self._call("set-state", slot, "bad")

    def reboot_argument(self) -> str | None:
        """See `Bootloader`."""
        return None

    def weaknesses(self) -> tuple[str, ...]:
        """See `Bootloader`."""
        return (f"how safe it is against power cuts is up to {self._handler}",)

    def _known(self, slot: str) -> None:
        if slot not in self.slots:
            raise unknown_slot(slot, self.slots)

    def _state(self, slot: str) -> SlotBoot:
        answer = self._call("get-state", slot)
        match = re.fullmatch(r"(good|bad|trying)(?: (\d{1,4}))?", answer)
        if match is None or (match[2] and match[1] != "trying"):
            raise EnvironmentInvalid(f"{self._handler} get-state {slot}: {answer!r}")
        return SlotBoot(slot, SlotState(match[1]), int(match[2]) if match[2] else None)

    def _call(self, *arguments: str, tries: int | None = None) -> str:
        """Run the handler and return what it prints, without white space around it.

        Raises:
            BootloaderMissing: there is no such program, or it cannot be run.
            EnvironmentFault: it failed, took too long or printed too much.
        """
        what = " ".join([str(self._handler), *arguments])
        environment = dict(os.environ)
        environment.pop(TRIES_VARIABLE, None)
        if tries is not None:
            environment[TRIES_VARIABLE] = str(tries)
        try:
            process = subprocess.Popen(
                [str(self._handler), *arguments],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environment,
                start_new_session=True,
            )
        except OSError as error:
            raise BootloaderMissing(f"{self._handler}: {error.strerror}") from error
        with process:
            try:
                output, errors = self._collect(process, what)
            finally:
                # Its children as well: they may hold the pipes open.
                _kill(process)
        if process.returncode != 0:
            last = (errors.strip().splitlines() or [""])[-1]
            raise EnvironmentFault(
                f"{what}: ended with {process.returncode}" + (f": {last}" if last else ""),
                hint="look at what the handler prints when it is run by hand",
            )
        return output.strip()

    def _collect(self, process: subprocess.Popen[bytes], what: str) -> tuple[str, str]:
        """Read both pipes to their ends, within the limits of time and length."""
        deadline = time.monotonic() + self._timeout_s
        assert process.stdout is not None and process.stderr is not None
        texts = {process.stdout: b"", process.stderr: b""}
        with selectors.DefaultSelector() as selector:
            for pipe in texts:
                selector.register(pipe, selectors.EVENT_READ, pipe)
            while selector.get_map():
                ready = selector.select(max(0.0, deadline - time.monotonic()))
                if not ready:
                    raise EnvironmentFault(f"{what}: no answer in {self._timeout_s:g} s")
                for key, _ in ready:
                    piece = os.read(key.fd, OUTPUT_LIMIT)
                    texts[key.data] += piece
                    if not piece:
                        selector.unregister(key.fileobj)
                    if len(texts[process.stdout]) > OUTPUT_LIMIT:
                        raise EnvironmentFault(f"{what}: prints more than {OUTPUT_LIMIT} bytes")
                    texts[process.stderr] = texts[process.stderr][-OUTPUT_LIMIT:]
        try:
            process.wait(max(0.01, deadline - time.monotonic()))
        except subprocess.TimeoutExpired as error:
            raise EnvironmentFault(f"{what}: no end in {self._timeout_s:g} s") from error
        output, errors = (text.decode("utf-8", "replace") for text in texts.values())
        return output, errors


def answer(bootloader: Bootloader, arguments: Sequence[str], tries: int = 3) -> str:
    """Do what RAUC asks of a custom handler, with any backend; return what is to be printed.

    A slot under trial is `good` while it has tries left. `set-state NAME good` of a slot that is
    good already changes nothing: RAUC says so at every boot, also after an update was installed and
    before it was started, and the new slot must stay first then.

    Raises:
        BootSettingInvalid: no such request.
        BootError: what the backend raises.
    """
    match list(arguments):
        case ["get-primary"]:
            primary = bootloader.read().primary
            if primary is None:
                raise EnvironmentInvalid("no slot is preferred")
            return primary
        case ["get-current"]:
            running = bootloader.running()
            if running is None:
                raise EnvironmentInvalid("the bootloader does not tell which slot runs")
            return running
        case ["get-state", name]:
            return "good" if _bootable(bootloader.read().slot(name)) else "bad"
        case ["set-primary", name]:
            bootloader.set_primary(name, tries)
        case ["set-state", name, "good"]:
            if bootloader.read().slot(name).state is not SlotState.GOOD:
                bootloader.mark_good(name)
        case ["set-state", name, "bad"]:
            bootloader.mark_bad(name)
        case _:
            raise BootSettingInvalid(
                f"no request of a boot handler: {' '.join(arguments)!r}",
                hint="get-primary, set-primary NAME, get-state NAME, set-state NAME good|bad"
                " and get-current",
            )
    return ""


def tries_in(environment: Mapping[str, str], default: int = 3) -> int:
    """Return the tries that the caller of a handler asks for.

    Raises:
        BootSettingInvalid: CAFLIP_TRIES makes no sense.
    """
    text = environment.get(TRIES_VARIABLE, str(default))
    if not re.fullmatch(r"\d", text):
        raise BootSettingInvalid(f"{TRIES_VARIABLE} is {text!r}, not one digit")
    return checked_tries(int(text))


def _bootable(slot: SlotBoot) -> bool:
    return slot.state is not SlotState.BAD and slot.tries_left != 0


def _kill(process: subprocess.Popen[bytes]) -> None:
    """Kill what the handler started, and the handler: all that is in its session's group."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return

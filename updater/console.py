# SPDX-License-Identifier: Apache-2.0
"""All that a run prints.

    standard output   the result: text, or JSON lines with `--json`, or an image
    standard error    progress on a terminal, warnings, statistics, errors

Commands give records and lines; where they go, and whether, is decided here. What writes JSON is
loaded by those who ask for it.
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from images.events import Progress, SourceFailed
from updater.bar import Bar, Throttle
from updater.notify import Notifier

if TYPE_CHECKING:
    from updater.agent.events import AgentEvent, HookRan, Noticed, StepBegan
    from updater.signals import Interruption

WARNINGS_PER_SOURCE = 3


class Console:
    """Printing for one verb.

    Attributes:
        casync: we were called by the name `casync` and print what that prints.
        verbose: `-v` was given.
        json: `--json` was given.
        notifier: the way to systemd.
    """

    def __init__(
        self,
        verb: str,
        *,
        json: bool = False,
        verbose: bool = False,
        casync: bool = False,
        quiet: bool = False,
        interruption: Interruption | None = None,
    ) -> None:
        """Args: `quiet` leaves out warnings; `interruption` is looked at with every event."""
        self.verb = verb
        self.json = json
        self.verbose = verbose
        self.casync = casync
        self.notifier = Notifier(os.environ)
        self._quiet = quiet
        self._interruption = interruption
        self._throttle = Throttle()
        self._shown: dict[str, set[str]] = {}
        self._suppressed: Counter[str] = Counter()
        # casync shows progress with -v only.
        self._bar = Bar(2) if _is_terminal() and not json and (verbose or not casync) else None

    def event(self, event: AgentEvent) -> None:
        """Be the sink of the events of engine and agent."""
        if self._interruption is not None:
            self._interruption.check()
        self.notifier.event(event)
        if isinstance(event, SourceFailed):
            self._warn_of(event)
        elif not isinstance(event, Progress):
            self._tell_of_agent(event)
        if self.json:
            if not isinstance(event, Progress) or self._throttle.passes(event, time.monotonic()):
                from updater.json_lines import event_line

                self._out(event_line(event) + "\n")
        elif self._bar is not None and isinstance(event, Progress):
            self._bar.show(event)

    def result(self, record: object, lines: Iterable[str] = ()) -> None:
        """Print what came out: the record as JSON, or the lines as text."""
        self.finish_progress()
        if self.json:
            from updater.json_lines import result_line

            self._out(result_line(self.verb, record) + "\n")
        else:
            for line in lines:
                self._out(line + "\n")

    def item(self, name: str, record: object, line: str) -> None:
        """Print one item of a long answer."""
        self.finish_progress()
        if self.json:
            from updater.json_lines import item_line

            line = item_line(name, record)
        self._out(line + "\n")

    def statistics(self, lines: Iterable[str]) -> None:
        """Print lines on standard error under `-v`."""
        if self.verbose and not self.json:
            self.finish_progress()
            for line in lines:
                _err(line)

    def summary(self, line: str) -> None:
        """Print a closing line for somebody who watches: on a terminal, or under `-v`."""
        self.finish_progress()
        if not self.json and not self.casync and (self.verbose or _is_terminal()):
            _err(line)

    def warn(self, message: str) -> None:
        """Print a warning on standard error."""
        if not self._quiet:
            self.finish_progress()
            _err(f"caflip: {message}")

    def error(self, code: str, message: str, hint: str | None, exit_status: int) -> None:
        """Print why the run failed."""
        self.finish_progress()
        self._tell_of_suppressed()
        _err(f"{'' if self.casync else 'caflip: '}{message}")
        if hint is not None:
            _err(f"  hint: {hint}")
        if self.json:
            from updater.json_lines import error_line

            self._out(error_line(code, message, hint, exit_status) + "\n")

    def write_bytes(self, data: bytes) -> None:
        """Put raw bytes on standard output."""
        with _quiet_end():
            sys.stdout.buffer.write(data)

    def flush(self) -> None:
        """Let the reader of standard output see everything so far."""
        with _quiet_end():
            sys.stdout.flush()

    def close(self) -> None:
        """End the line of the bar and tell what was left out."""
        self.finish_progress()
        self._tell_of_suppressed()

    def finish_progress(self) -> None:
        """Take the bar away, so that text can follow."""
        if self._bar is not None:
            self._bar.clear()

    def _warn_of(self, event: SourceFailed) -> None:
        shown = self._shown.setdefault(event.source, set())
        if event.message in shown or len(shown) >= WARNINGS_PER_SOURCE:
            self._suppressed[event.source] += 1
            return
        shown.add(event.message)
        named = event.message.startswith(event.source)
        self.warn(event.message if named else f"{event.source}: {event.message}")

    def _tell_of_agent(self, event: StepBegan | Noticed | HookRan) -> None:
        from updater.agent.events import HookRan, Noticed  # loaded by whoever made the event

        if isinstance(event, Noticed):
            self.warn(event.message)
        elif isinstance(event, HookRan):
            self._tell_of_hook(event)
        elif self.verbose and not self.json:
            self.finish_progress()
            _err(event.step.value + (f": {event.subject}" if event.subject else ""))

    def _tell_of_hook(self, event: HookRan) -> None:
        if event.output and (self.verbose or event.status or event.timed_out):
            for line in event.output.splitlines():
                self.warn(f"hook {event.name}: {line}")

    def _tell_of_suppressed(self) -> None:
        for source, count in self._suppressed.items():
            self.warn(f"{source}: and {count} more like these")
        self._suppressed.clear()

    def _out(self, text: str) -> None:
        with _quiet_end():
            sys.stdout.write(text)
            # Whoever reads JSON lines wants them now.
            if self.json:
                sys.stdout.flush()


def _err(line: str) -> None:
    try:
        print(line, file=sys.stderr, flush=True)
    except OSError:
        return  # nobody reads it; that is no reason to stop


def _is_terminal() -> bool:
    return os.environ.get("TERM") != "dumb" and os.isatty(2)


@contextmanager
def _quiet_end() -> Iterator[None]:
    """Raise what no `except Exception` of the engine mistakes for an error of its own."""
    try:
        yield
    except BrokenPipeError as error:
        raise OutputClosed from error


class OutputClosed(BaseException):
    """The reader of standard output went away, as in `caflip ... | head`: time to end quietly."""

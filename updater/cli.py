# SPDX-License-Identifier: Apache-2.0
"""The entry point: which verb, and how every run ends.

Exit statuses are those of sysexits.h, by what the caller should do next (docs/errors.md). Called by
the name `casync`, a failure is 1 whatever it was, as there.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from updater import __version__

if TYPE_CHECKING:
    import argparse

    from boot.errors import BootError
    from fsprobe import ProbeError
    from images.errors import ImageError
    from updater.commands import Verb

EX_USAGE = 64  # sysexits.h
CASYNC_FAILURE = 1
CLOSED_OUTPUT_STATUS = 141  # what a shell shows of a program that SIGPIPE ended
WARNING = 4  # syslog(3)

EXIT_STATUSES = {
    0: "done",
    3: "nothing to do, or nothing yet",
    EX_USAGE: "usage: the command line cannot be understood",
    65: "refused: the bytes are wrong; do not use this index, image or device",
    69: "another source may help: add a store or a seed",
    70: "a bug of ours",
    74: "the medium failed",
    75: "try again later, with the same command: it continues",
    78: "a person has to change something first",
    CLOSED_OUTPUT_STATUS: "the reader of standard output went away",
}


def main(arguments: Sequence[str] | None = None, program: str | None = None) -> int:
    """Run one verb.

    Args:
        arguments: without the program's name; those of the process if None.
        program: the name we are called by; that of the process if None.

    Returns:
        The exit status.
    """
    _hold_standard_descriptors()
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    program = os.path.basename(sys.argv[0]) if program is None else program
    casync = program == "casync"
    name = "casync" if casync else "caflip"
    try:
        if "--version" in arguments[:1]:
            print(f"casync 2 (caflip {__version__})" if casync else f"caflip {__version__}")
            status = 0
        else:
            status = _run(arguments, name, casync)
        sys.stdout.flush()
    except BrokenPipeError:
        status = CLOSED_OUTPUT_STATUS
        _close_output()
    except SystemExit as ended:  # of argparse after --help, and of a closed output
        status = ended.code if isinstance(ended.code, int) else 0
    return CASYNC_FAILURE if casync and status else status


def _run(arguments: list[str], name: str, casync: bool) -> int:
    from updater.arguments import UsageError
    from updater.console import Console, OutputClosed
    from updater.signals import Interruption

    # Until the command line is understood, errors go by what it seems to say.
    console = Console("", json="--json" in arguments, verbose="-v" in arguments, casync=casync)
    interruption = Interruption()
    try:
        understood = _parse(arguments, name, casync)
        if understood is None:
            return 0
        verb, args = understood
        console = Console(
            verb.name,
            json=args.json,
            verbose=args.verbose,
            casync=casync,
            quiet=args.log_level < WARNING,
            interruption=interruption,
        )
        with interruption:
            status: int = verb.module().run(args, console)
            console.close()
            return status
    except UsageError as error:
        console.error("usage", str(error), error.hint, EX_USAGE)
        return EX_USAGE
    except OutputClosed:
        _close_output()
        return CLOSED_OUTPUT_STATUS
    except (Exception, KeyboardInterrupt) as error:
        failure = _failure_of(error, interruption.requested, casync)
        if console.verbose and failure.code == "image.bug":
            import traceback

            traceback.print_exc()
        if interruption.requested:
            console.notifier.stopping()
        console.error(failure.code, str(failure), failure.hint, failure.exit_status)
        return failure.exit_status


def _parse(arguments: list[str], name: str, casync: bool) -> tuple[Verb, argparse.Namespace] | None:
    """Return the verb and its arguments; None where help was all that was asked for.

    Raises:
        UsageError: the command line cannot be understood.
    """
    from updater.arguments import UsageError, find_verb
    from updater.commands import TREE_VERBS, VERBS

    verbs = [verb for verb in VERBS if verb.casync or not casync]
    place = find_verb(arguments)
    if place is None and {"-h", "--help"} & set(arguments):
        print(_help(name, verbs))
        return None
    if place is None:
        raise UsageError("missing verb", f"see `{name} --help`")
    word = arguments[place]
    if word == "help":
        print(_help(name, verbs))
        return None
    if word in TREE_VERBS:
        raise UsageError(f"{word} is for directory trees, which come later")
    rest = [*arguments[:place], *arguments[place + 1 :]]
    if family := [verb for verb in verbs if verb.name.startswith(f"{word} ")]:
        place = find_verb(rest)
        if place is None and {"-h", "--help"} & set(rest):
            print(_help(name, family))
            return None
        names = ", ".join(verb.name for verb in family)
        if place is None:
            raise UsageError(f"{word} is the first word of several verbs", f"one of: {names}")
        word = f"{word} {rest.pop(place)}"
        if word not in (verb.name for verb in family):
            raise UsageError(f"unknown verb {word.strip()!r}", f"one of: {names}")
    for verb in verbs:
        if verb.name == word:
            return verb, verb.parser(name).parse_intermixed_args(rest)
    raise UsageError(f"unknown verb {word!r}", f"see `{name} --help`")


def _failure_of(
    error: BaseException, interrupted: bool, casync: bool
) -> ImageError | ProbeError | BootError:
    """Return what a run failed with: after a signal, whatever broke broke because of that."""
    from boot.errors import BootError
    from fsprobe import ProbeError
    from images.errors import Bug, ImageError, Interrupted, RetryLater

    if interrupted or isinstance(error, KeyboardInterrupt):
        return Interrupted("Got exit signal, quitting." if casync else "stopped by a signal")
    if isinstance(error, ImageError | ProbeError | BootError):
        return error
    if isinstance(error, MemoryError):
        return RetryLater(
            "there is not enough memory",
            hint="end other programs, then run the same command again: it continues",
        )
    return Bug(f"{type(error).__name__}: {error}")


def _help(name: str, verbs: Sequence[Verb]) -> str:
    from updater.commands import GROUPS

    width = max(len(verb.name) for verb in verbs)
    lines = [f"usage: {name} VERB [OPTIONS...] [ARGUMENTS...]"]
    for title, group in GROUPS.items():
        shown = [verb for verb in group if verb in verbs]
        lines += ["", f"{title}:"] if shown else []
        lines += [f"  {verb.name:<{width}}  {verb.summary}" for verb in shown]
    lines += ["", f"Options may stand before or after the verb. See `{name} VERB --help`."]
    if name == "casync":
        statuses = {0: EXIT_STATUSES[0], CASYNC_FAILURE: "failed"}
    else:
        statuses = EXIT_STATUSES
    lines += ["", "exit status:"]
    lines += [f"  {status:>3}  {meaning}" for status, meaning in statuses.items()]
    return "\n".join(lines)


def _hold_standard_descriptors() -> None:
    """Fill what was closed before we started: no target may become the standard error."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number: this one
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.dup(number), "w" if number else "r"))


def _close_output() -> None:
    """Give the interpreter something to flush to at its end."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)

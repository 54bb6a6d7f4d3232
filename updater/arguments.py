# SPDX-License-Identifier: Apache-2.0
"""The parser of one verb, where the verb stands, and how values are read.

Options may stand before or after the verb, as with casync (formats document "Verbs"; casync
`src/casync-tool.c`), so the verb is looked for first and its own parser then reads everything else.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Sequence
from typing import NoReturn, TypeVar

from images.errors import SettingInvalid
from images.sizes import parse_size

T = TypeVar("T")

TREE_OPTIONS = (
    *("--with", "--without", "--exclude-nodump", "--exclude-submounts", "--exclude-file"),
    *("--hardlink", "--delete", "--undo-immutable", "--recursive", "--mkdir"),
    *("--uid-shift", "--uid-range"),
)


TAKES_VALUE = frozenset(
    {
        "-l",
        "--add-signature",
        "--again",
        "--cache",
        "--chunk-size",
        "--compatible",
        "--compression",
        "--config",
        "--digest",
        "--expires",
        "--extra-store",
        "--fingerprint",
        "--gnupg-home",
        "--image",
        "--keyring",
        "--length",
        "--listen",
        "--log-level",
        "--notes",
        "--offset",
        "--passphrase-file",
        "--punch-holes",
        "--rate-limit-bps",
        "--reflink",
        "--rollout",
        "--running",
        "--seed",
        "--seed-output",
        "--sequence",
        "--sign-with",
        "--slot",
        "--store",
        "--store-settings",
        "--store-url",
        "--threads",
        "--threshold",
        "--trust-keyring",
        "--trust-threshold",
        "--trust-version",
        "--variant",
        "--wait-s",
        "--version",
        "--what",
        *TREE_OPTIONS,
    }
)
"""Options with a value of their own: it is not the verb. A test holds this against the parsers."""

LOG_LEVELS = ("emerg", "alert", "crit", "err", "warning", "notice", "info", "debug")
"""syslog(3), by number; casync also knows `warn`."""


class UsageError(Exception):
    """The command line cannot be understood."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class Parser(argparse.ArgumentParser):
    """Raises `UsageError` where argparse would end the process."""

    def error(self, message: str) -> NoReturn:
        """Refuse the command line."""
        raise UsageError(message, f"see `{self.prog} --help`")


class Formatter(argparse.RawDescriptionHelpFormatter):
    """As wide as the terminal; asked as argparse does it, shutil would come with it.

    argparse makes one for each argument that is declared, help or no help.
    """

    def __init__(self, prog: str) -> None:
        super().__init__(prog, width=_columns() - 2)


def _columns() -> int:
    """Return $COLUMNS, else the width of standard output, else 80."""
    text = os.environ.get("COLUMNS", "")
    if text.isascii() and text.isdigit() and int(text):
        return int(text)
    try:
        return os.get_terminal_size(1).columns or 80
    except OSError:
        return 80


def find_verb(arguments: Sequence[str]) -> int | None:
    """Return where the verb stands: the first argument that is no option and no option's value."""
    number = 0
    while number < len(arguments):
        text = arguments[number]
        if not text.startswith("-") or text == "-":
            return number
        if text == "--":
            return number + 1 if number + 1 < len(arguments) else None
        number += 2 if text in TAKES_VALUE else 1
    return None


def value(parse: Callable[[str], T]) -> Callable[[str], T]:
    """Make a parser of the library a type for argparse: what it refuses is a usage error."""

    def parse_value(text: str) -> T:
        try:
            return parse(text)
        except SettingInvalid as error:
            hint = f" ({error.hint})" if error.hint else ""
            raise argparse.ArgumentTypeError(f"{error}{hint}") from None

    return parse_value


def boolean(text: str) -> bool:
    """Read yes or no, in every spelling that casync knows."""
    if text.lower() in ("1", "yes", "y", "true", "t", "on"):
        return True
    if text.lower() in ("0", "no", "n", "false", "f", "off"):
        return False
    raise argparse.ArgumentTypeError(f"{text!r} is neither yes nor no")


def log_level(text: str) -> int:
    """Return the syslog number of a level's name or number."""
    text = "warning" if text == "warn" else text
    if text in LOG_LEVELS:
        return LOG_LEVELS.index(text)
    if text.isascii() and text.isdigit() and int(text) < len(LOG_LEVELS):
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(LOG_LEVELS)}, 0..7")


def positive(text: str) -> int:
    """Read a size that is at least 1."""
    number = value(parse_size)(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not positive")
    return number


def environment_boolean(name: str) -> bool:
    """Return a yes/no variable of the environment; nonsense counts as no."""
    try:
        return boolean(os.environ.get(name, "no"))
    except argparse.ArgumentTypeError:
        return False

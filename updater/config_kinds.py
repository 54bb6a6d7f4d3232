# SPDX-License-Identifier: Apache-2.0
"""Kinds of values in a configuration: a function for each, from the value in the file to ours.

The first sentence of a docstring is what docs/configuration.md calls the kind. Each raises
ValueError with what it wants instead ("a text"), or SettingInvalid with what is wrong.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

from images.errors import SettingInvalid
from images.locator import parse_locator
from images.sizes import parse_size
from images.specs import SeedSpec
from updater.config_fields import Reader
from updater.releases.openpgp import Malformed, fingerprint

LONGEST_S = 30 * 86400
"""Nothing waits for longer than a month; a larger number is a slip."""

MOST_LABEL = 128
"""Characters of `compatible` and of a variant; `releases/fields.py` has the same for releases."""


def text(value: object, folder: Path) -> str:
    """Text."""
    if not isinstance(value, str) or not value or not value.isprintable():
        raise ValueError("a text")
    return value


def label(value: object, folder: Path) -> str:
    """Text of up to 128 characters, as in releases."""
    found = text(value, folder)
    if len(found) > MOST_LABEL or found != found.strip():
        raise ValueError(f"a text of 1 to {MOST_LABEL} characters without a space at an end")
    return found


def truth(value: object, folder: Path) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise ValueError("true or false")
    return value


def seconds(value: object, folder: Path) -> float:
    """Seconds."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError("a number of seconds")
    if not math.isfinite(value) or not 0 <= value <= LONGEST_S:
        raise ValueError(f"from 0 to {LONGEST_S} seconds")
    return float(value)


def whole(least: int, most: int) -> Reader:
    """Return the reader of a whole number within a range."""

    def read(value: object, folder: Path) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise ValueError(f"a whole number from {least} to {most}")
        return value

    read.__doc__ = f"whole number, {least} to {most}."
    return read


def size(value: object, folder: Path) -> int:
    """bytes, as a number or as text with K, M, G."""
    if isinstance(value, str):
        return parse_size(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError("a number of bytes")
    return value


def rate(value: object, folder: Path) -> int:
    """Bytes a second, as a number or as text with K, M, G."""
    found = size(value, folder)
    if found < 1:
        raise ValueError("at least 1 byte a second")
    return found


def path(value: object, folder: Path) -> Path:
    """path; a relative one starts at the configuration's folder."""
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError("a path")
    return folder / value


def word(pattern: str, what: str) -> Reader:
    """Return the reader of a text of a certain form."""
    form = re.compile(pattern)

    def read(value: object, folder: Path) -> str:
        if not isinstance(value, str) or not form.fullmatch(value):
            raise ValueError(what)
        return value

    read.__doc__ = f"{what}."
    return read


def texts(value: object, folder: Path) -> tuple[str, ...]:
    """List of texts."""
    if not isinstance(value, list):
        raise ValueError("a list of texts")
    return tuple(text(item, folder) for item in value)


def location(value: object, folder: Path) -> str:
    """URL or path; a relative path starts at the configuration's folder."""
    found = text(value, folder)
    parse_locator(found)
    return found if "://" in found else str(folder / found)


def locations(value: object, folder: Path) -> tuple[str, ...]:
    """List of URLs and paths."""
    if not isinstance(value, list):
        raise ValueError("a list of URLs and paths")
    return tuple(location(item, folder) for item in value)


def endpoints(value: object, folder: Path) -> tuple[str, ...]:
    """List of hosts with their ports."""
    found = texts(value, folder)
    for item in found:
        host, _, port = item.rpartition(":")
        if not host or not port.isascii() or not port.isdigit() or not 0 < int(port) < 65536:
            raise ValueError(f"a list of HOST:PORT, and {item!r} is none")
    return found


def seeds(value: object, folder: Path) -> tuple[SeedSpec, ...]:
    """List of seeds, each as for `--seed`."""
    return tuple(_seed(item, folder) for item in texts(value, folder))


def _seed(spec: str, folder: Path) -> SeedSpec:
    found = SeedSpec.parse(spec)
    index = None if found.index is None else folder / found.index
    return SeedSpec(folder / found.path, found.offset, found.length, index)


def command(value: object, folder: Path) -> tuple[str, ...]:
    """Program with its arguments, as a list; the program's path is absolute."""
    if not isinstance(value, list) or not value:
        raise ValueError("a list of a program and its arguments")
    found = tuple(item for item in value if isinstance(item, str) and "\0" not in item)
    if len(found) != len(value):
        raise ValueError("a list of texts: a program and its arguments")
    if not found[0].startswith("/"):
        raise ValueError("a program with its absolute path: nothing is looked up in PATH")
    return found


def commands(value: object, folder: Path) -> tuple[tuple[str, ...], ...]:
    """List of programs with their arguments, each a list."""
    if not isinstance(value, list):
        raise ValueError("a list of lists: programs and their arguments")
    return tuple(command(item, folder) for item in value)


def fingerprints(value: object, folder: Path) -> tuple[str, ...]:
    """List of fingerprints, 40 or 64 hexadecimal digits each."""
    found = []
    for item in texts(value, folder):
        try:
            found.append(fingerprint(item))
        except Malformed as error:
            raise SettingInvalid(str(error), hint="`caflip keys list` shows them") from None
    if len(set(found)) != len(found):
        raise SettingInvalid("a fingerprint stands twice; it would count once")
    return tuple(found)

# SPDX-License-Identifier: Apache-2.0
"""Reading the fields of a JSON object by name and kind, until none is left.

This is the one place where types of JSON values are decided; records come out of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import datetime
from types import TracebackType
from typing import Self, TypeVar

from updater.errors import ReleaseMalformed
from updater.releases.times import parse_time

T = TypeVar("T")

_SHA256 = re.compile(r"[0-9a-f]{64}")


class Fields:
    """The fields of one object; what was not asked for at the end of the block is unknown."""

    def __init__(self, where: str, document: object) -> None:
        """Args: `where` is what messages call the object.

        Raises:
            ReleaseMalformed: it is no object.
        """
        if not isinstance(document, dict):
            raise ReleaseMalformed(f"{where} is not an object")
        self._where = where
        self._left: dict[str, object] = dict(document)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None and self._left:
            raise ReleaseMalformed(f"{self._where} has an unknown key {min(self._left)[:64]!r}")

    def text(self, key: str) -> str:
        """Return a text."""
        value = self._take(key)
        if not isinstance(value, str):
            raise self._wrong(key, "a text")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a list of texts."""
        value = self._take(key)
        if not isinstance(value, list):
            raise self._wrong(key, "a list")
        texts = tuple(item for item in value if isinstance(item, str))
        if len(texts) != len(value):
            raise self._wrong(key, "a list of texts")
        return texts

    def integer(self, key: str) -> int:
        """Return a whole number."""
        value = self._take(key)
        if not isinstance(value, int) or isinstance(value, bool):
            raise self._wrong(key, "a whole number")
        return value

    def table(self, key: str) -> dict[str, object]:
        """Return an object."""
        value = self._take(key)
        if not isinstance(value, dict):
            raise self._wrong(key, "an object")
        return value

    def time(self, key: str) -> datetime:
        """Return a moment."""
        text = self.text(key)
        try:
            return parse_time(text)
        except ValueError as error:
            raise ReleaseMalformed(f"{self._name(key)}: {error}") from None

    def digest(self, key: str) -> bytes:
        """Return the 32 bytes of 64 lower-case hexadecimal digits."""
        text = self.text(key)
        if not _SHA256.fullmatch(text):
            raise self._wrong(key, "a SHA-256 in lower-case hexadecimal")
        return bytes.fromhex(text)

    def optional(self, key: str, read: Callable[[str], T]) -> T | None:
        """Return None for null, else what `read` returns. The key itself has to be there."""
        if key in self._left and self._left[key] is None:
            self._left.pop(key)
            return None
        return read(key)

    def _take(self, key: str) -> object:
        if key not in self._left:
            raise ReleaseMalformed(f"{self._where} has no {key!r}")
        return self._left.pop(key)

    def _wrong(self, key: str, wanted: str) -> ReleaseMalformed:
        return ReleaseMalformed(f"{self._name(key)} is not {wanted}")

    def _name(self, key: str) -> str:
        return f"{self._where}.{key}"


def check_number(where: str, value: int, least: int, most: int) -> None:
    """Hold a number to its range.

    Raises:
        ReleaseMalformed: it is outside.
    """
    if not least <= value <= most:
        raise ReleaseMalformed(f"{where} is {value}, which is not {least} to {most}")


def check_list(
    where: str, items: Sequence[str], most: int, check: Callable[[str, str], None]
) -> None:
    """Hold a list to its rules: not too long, each item well-formed, none twice.

    Raises:
        ReleaseMalformed: one is broken.
    """
    if len(items) > most:
        raise ReleaseMalformed(f"{where} has {len(items)} items; {most} are allowed")
    for item in items:
        check(where, item)
    if len(set(items)) != len(items):
        raise ReleaseMalformed(f"{where} has an item twice")


def check_word(where: str, text: str) -> None:
    """Hold a name to its form: 1 to 128 printable characters, no space at either end.

    Raises:
        ReleaseMalformed: it has another one.
    """
    check_text(where, text, 1, 128)
    if text != text.strip():
        raise ReleaseMalformed(f"{where} has a space at an end")


def check_text(where: str, text: str, least: int, most: int, *, lines: bool = False) -> None:
    """Hold a text to its length and to what may be shown on a terminal.

    Args:
        where: what messages call it.
        text: to be looked at.
        least: characters, at the least.
        most: characters, at the most.
        lines: whether tabs and ends of lines are allowed.

    Raises:
        ReleaseMalformed: it is too short or too long, or holds what does not print.
    """
    if not least <= len(text) <= most:
        raise ReleaseMalformed(
            f"{where} has {len(text)} characters, which is not {least} to {most}"
        )
    # isprintable() also refuses what reverses the direction of text, and halves of surrogates.
    shown = text.replace("\n", "").replace("\t", "") if lines else text
    if not shown.isprintable():
        raise ReleaseMalformed(f"{where} holds a character that does not print")

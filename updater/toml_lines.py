# SPDX-License-Identifier: Apache-2.0
"""On which line of a TOML file each key stands: tomllib does not tell.

This is a scan and no parser: it runs over text that tomllib has accepted, knows strings, comments,
brackets, headers and dotted keys, and gives every key its path. `Lines.of` compares what it found
with the parsed document; where the two differ it knows no line at all, and says none. Keys inside
an inline table or an array have the line of the key that holds them, if that value stands on one
line.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

KeyPath: TypeAlias = tuple[str | int, ...]
"""Names of keys, and numbers of elements from 0 on."""

_TOKEN = re.compile(
    r"""
      (?P<space>[\ \t\r]+)
    | (?P<newline>\n)
    | (?P<comment>\#[^\n]*)
    | (?P<string>\"\"\"(?:\\.|[^\\])*?\"{3,5} | '''.*?'{3,5}
        | "(?:\\.|[^"\\\n])*" | '[^'\n]*')
    | (?P<mark>[][{}=,.])
    | (?P<bare>[^\s\#"'][^\s\#"'\]\[{}=,.]*)
    """,
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    line: int


@dataclass(frozen=True, slots=True)
class Lines:
    """Where keys stand.

    Attributes:
        numbers: the line of a key or table by its path, counted from 1.
        spans: the lines that a value takes, where it is more than one.
    """

    numbers: Mapping[KeyPath, int] = field(default_factory=dict)
    spans: Mapping[KeyPath, int] = field(default_factory=dict)

    @classmethod
    def of(cls, text: str, document: Mapping[str, object]) -> Lines:
        """Scan a file's text; `document` is what tomllib made of it."""
        numbers: dict[KeyPath, int] = {}
        spans: dict[KeyPath, int] = {}
        try:
            for found, line, lines in _scan(text.replace("\r\n", "\n")):
                numbers.setdefault(found, line)
                if lines > 1:
                    spans[found] = lines
        except (ValueError, IndexError, tomllib.TOMLDecodeError):
            return cls()
        if not all(_is_in(document, found) for found in numbers):
            return cls()
        return cls(numbers, spans)

    def find(self, path: KeyPath) -> int | None:
        """Return the line of a key or table; None where that cannot be told."""
        if path in self.numbers:
            return self.numbers[path]
        for length in range(len(path) - 1, 0, -1):
            holder = path[:length]
            if holder in self.numbers:
                # A key of a value that takes several lines is on one of them.
                return None if holder in self.spans else self.numbers[holder]
        return None


def _scan(text: str) -> Iterator[tuple[KeyPath, int, int]]:
    """Yield the path of each key and header, its line, and how many lines its value takes."""
    tokens = list(_tokens(text))
    arrays: dict[KeyPath, int] = {}
    table: KeyPath = ()
    at = 0
    while at < len(tokens):
        first = tokens[at]
        if first.kind in ("newline", "comment"):
            at += 1
            continue
        if first.text == "[":
            double = tokens[at + 1].text == "[" and tokens[at + 1].kind == "mark"
            names, at = _dotted(tokens, at + (2 if double else 1))
            at += 2 if double else 1
            table = _resolved(names, arrays, opening=double)
            for length in range(1, len(table) + 1):
                yield table[:length], first.line, 1
            continue
        names, at = _dotted(tokens, at)
        if tokens[at].text != "=":
            raise ValueError("no key")
        at, last = _skip_value(tokens, at + 1)
        for length in range(1, len(names)):
            yield (*table, *names[:length]), first.line, 1
        yield (*table, *names), first.line, last - first.line + 1


def _tokens(text: str) -> Iterator[_Token]:
    at, line = 0, 1
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            raise ValueError(f"line {line}")
        kind = match.lastgroup or ""
        if kind != "space":
            yield _Token(kind, match[0], line)
        line += match[0].count("\n")
        at = match.end()


def _dotted(tokens: list[_Token], at: int) -> tuple[tuple[str, ...], int]:
    """Return the names of a dotted key, and where the next token is."""
    names = []
    while True:
        names.append(_name(tokens[at]))
        at += 1
        if tokens[at].text != ".":
            return tuple(names), at
        at += 1


def _name(token: _Token) -> str:
    if token.kind == "bare":
        return token.text
    if token.kind != "string":
        raise ValueError("no key")
    value: str = tomllib.loads(f"name = {token.text}")["name"]
    return value


def _resolved(names: tuple[str, ...], arrays: dict[KeyPath, int], *, opening: bool) -> KeyPath:
    """Return the path of a header: tables of an array are numbered."""
    path: KeyPath = ()
    for number, name in enumerate(names):
        path = (*path, name)
        last = number == len(names) - 1
        if last and opening:
            arrays[path] = arrays.get(path, -1) + 1
        if path in arrays:
            path = (*path, arrays[path])
    return path


def _skip_value(tokens: list[_Token], at: int) -> tuple[int, int]:
    """Return where the line after a value begins, and the value's last line."""
    depth, last = 0, tokens[at].line
    while at < len(tokens):
        token = tokens[at]
        if token.kind == "newline" and depth == 0:
            return at + 1, last
        if token.kind == "mark":
            depth += (token.text in "[{") - (token.text in "]}")
        if token.kind not in ("newline", "comment"):
            last = token.line + token.text.count("\n")
        at += 1
    return at, last


def _is_in(document: object, path: KeyPath) -> bool:
    for part in path:
        if isinstance(part, int):
            if not isinstance(document, list) or part >= len(document):
                return False
            document = document[part]
        elif not isinstance(document, dict) or part not in document:
            return False
        else:
            document = document[part]
    return True

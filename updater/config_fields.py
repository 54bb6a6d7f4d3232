# SPDX-License-Identifier: Apache-2.0
"""Reading the values of a configuration: by kind, with the file and line in every message.

A key is described once, in the metadata of its field (`key`): how it is read, what it means and an
example. What is known, what is unknown and docs/configuration.md follow from that.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from images.errors import SettingInvalid
from updater.errors import ConfigInvalid
from updater.toml_lines import KeyPath, Lines

R = TypeVar("R")

Reader = Callable[[object, Path], object]
"""Takes a value and the folder that relative paths start from; raises ValueError("a number")."""


@dataclass(frozen=True, slots=True)
class Key:
    """What there is to say of one key.

    Attributes:
        read: from the value in the file to that of the field.
        kind: what users may write, such as `seconds`.
        meaning: one sentence.
        example: as it stands in the file, behind the `=`.
        name: in the file, where it is not that of the field.
        unset: what happens without it, where the field's default does not say so.
    """

    read: Reader
    kind: str
    meaning: str
    example: str
    name: str | None = None
    unset: str | None = None


def key(
    read: Reader,
    meaning: str,
    example: str,
    *,
    name: str | None = None,
    unset: str | None = None,
) -> dict[str, Key]:
    """Return the metadata of a field; its kind is the first line of the reader's docstring."""
    kind = (read.__doc__ or "").split(".")[0]
    return {"key": Key(read, kind, meaning, example, name, unset)}


def keys_of(record: type[Any]) -> dict[str, tuple[str, Key]]:
    """Return the keys of a record's table, in order: the field's name, and what there is to say."""
    found = {}
    for field in fields(record):
        if "key" in field.metadata:
            about: Key = field.metadata["key"]
            found[about.name or field.name.replace("_", "-")] = (field.name, about)
    return found


@dataclass(frozen=True, slots=True)
class Place:
    """One table of one file, for messages.

    Attributes:
        file: the file's name as users gave it.
        lines: where each key stands.
        path: of the table, from the top.
    """

    file: str
    lines: Lines
    path: KeyPath = ()

    def below(self, *path: str | int) -> Place:
        """Return the place of a key or table in this one."""
        return Place(self.file, self.lines, (*self.path, *path))

    def error(self, problem: str, hint: str | None = None) -> ConfigInvalid:
        """Return an error that names file and line; the line is left out where it is not known."""
        line = self.lines.find(self.path)
        where = self.file if line is None else f"{self.file}:{line}"
        return ConfigInvalid(f"{where}: {problem}", hint=hint)

    @property
    def title(self) -> str:
        """Return the dotted name: `update.tries`, `slot[2].device`, counting from 1."""
        text = ""
        for part in self.path:
            text += f"[{part + 1}]" if isinstance(part, int) else f".{part}" if text else part
        return text


def with_line(file: str, problem: str) -> str:
    """Return what tomllib says with the line where we put it: `FILE:LINE: problem`."""
    found = re.search(r" \(at line ([0-9]+), column [0-9]+\)$", problem)
    if found is None:
        return f"{file}: {problem}"
    return f"{file}:{found[1]}: {problem[: found.start()]}"


def table_at(place: Place, value: object) -> dict[str, object]:
    """Return a value that has to be a table.

    Raises:
        ConfigInvalid: it is something else.
    """
    if not isinstance(value, dict):
        raise place.error(f"{place.title} is not a table", f"write it as [{place.title}]")
    return value


def refuse_unknown(place: Place, table: Mapping[str, object], known: Iterable[str]) -> None:
    """Refuse a table with a key that means nothing here.

    Raises:
        ConfigInvalid: there is one; the hint names the nearest that is known.
    """
    known = list(known)
    for name in table:
        if name in known:
            continue
        near = difflib.get_close_matches(name, known, 1, cutoff=0.0)
        raise place.below(name).error(
            f"unknown key {name!r}" + (f" in [{place.title}]" if place.path else ""),
            f"did you mean {near[0]}?" if near else None,
        )


def read_record(
    place: Place, table: Mapping[str, object], record: type[R], folder: Path, **more: object
) -> R:
    """Build a record from a table whose keys are the record's fields.

    Args:
        place: of the table.
        table: its content; unknown keys have been refused.
        record: a dataclass with `key` in the metadata of its fields.
        folder: where relative paths start.
        more: values of fields that are no keys.

    Raises:
        ConfigInvalid: a key that must be there is lacking, or a value makes no sense.
    """
    values: dict[str, object] = dict(more)
    required = {item.name for item in fields(record) if _has_no_default(item)}  # type: ignore[arg-type]
    for name, (attribute, about) in keys_of(record).items():
        if name in table:
            values[attribute] = read_value(place.below(name), table[name], about, folder)
        elif attribute in required:
            raise place.error(
                f"{place.below(name).title} is missing", f"such as {name} = {about.example}"
            )
    return record(**values)


def read_value(place: Place, value: object, about: Key, folder: Path) -> object:
    """Read one value.

    Raises:
        ConfigInvalid: it makes no sense.
    """
    try:
        return about.read(value, folder)
    except SettingInvalid as error:
        raise place.error(f"{place.title}: {error}", error.hint) from None
    except ValueError as error:
        raise place.error(
            f"{place.title} is {_shown(value)}, not {error}", f"such as {about.example}"
        ) from None


def _has_no_default(item: Any) -> bool:  # noqa: ANN401 (dataclasses.Field of anything)
    return item.default is MISSING and item.default_factory is MISSING


def _shown(value: object) -> str:
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."

# SPDX-License-Identifier: Apache-2.0
"""Records as plain JSON values, and back: the only place that knows how a record's fields look.

frozen dataclass   object, a key for each field
enumeration        its word
bytes              lower-case hexadecimal
datetime           RFC 3339 in UTC, `2026-11-05T12:00:00Z`
path               text
"""

from __future__ import annotations

import dataclasses
import enum
import os
import types
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

R = TypeVar("R")


def to_plain(value: object) -> object:
    """Return what `json.dumps` takes."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: to_plain(getattr(value, field.name)) for field in dataclasses.fields(value)
        }
    if isinstance(value, enum.Enum):
        return value.value if isinstance(value.value, str) else value.name.lower()
    if isinstance(value, datetime):
        return value.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="seconds") + "Z"
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Mapping):
        return {str(to_plain(key)): to_plain(item) for key, item in value.items()}
    if isinstance(value, str):
        return value
    if isinstance(value, Sequence):
        return [to_plain(item) for item in value]
    return value


def from_plain(kind: type[R], value: object) -> R:
    """Return the record of this class that a JSON value stands for.

    Handles what `to_plain` makes of dataclasses whose fields are texts, whole and real numbers,
    truth values, bytes, moments, enumerations by word, records, tuples and mappings of these, or
    None. A key that is lacking takes the field's default.

    Raises:
        ValueError: it stands for none; the message names the place.
    """
    made = _read(kind, value, kind.__name__)
    assert isinstance(made, kind)
    return made


def _read(kind: Any, value: object, where: str) -> object:  # noqa: ANN401 (the JSON edge)
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return _read_optional(kind, value, where)
    if origin is tuple:
        items = _of_type(list, value, where)
        return tuple(_read(get_args(kind)[0], item, f"{where}[]") for item in items)
    if origin is not None and issubclass(origin, Mapping):
        pairs = _of_type(dict, value, where)
        item_kind = get_args(kind)[1]
        return {key: _read(item_kind, item, f"{where}.{key}") for key, item in pairs.items()}
    if dataclasses.is_dataclass(kind):
        return _read_record(kind, _of_type(dict, value, where), where)
    try:
        if issubclass(kind, enum.Enum):
            return kind(value)
        if kind is bytes:
            return bytes.fromhex(_of_type(str, value, where))
        if kind is datetime:
            text = _of_type(str, value, where)
            return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    if kind is float and isinstance(value, int):
        value = float(value)
    return _of_type(kind, value, where)


def _read_optional(kind: Any, value: object, where: str) -> object:  # noqa: ANN401
    if value is None:
        return None
    (inner,) = (each for each in get_args(kind) if each is not type(None))
    return _read(inner, value, where)


def _read_record(kind: Any, pairs: dict[str, object], where: str) -> object:  # noqa: ANN401
    hints = _hints(kind)
    unknown = sorted(pairs.keys() - hints.keys())
    if unknown:
        raise ValueError(f"{where} has an unknown key {unknown[0]!r}")
    values = {key: _read(hints[key], item, f"{where}.{key}") for key, item in pairs.items()}
    try:
        return kind(**values)
    except TypeError as error:  # a key that is lacking
        raise ValueError(f"{where}: {error}") from None


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _of_type(kind: type[R], value: object, where: str) -> R:
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise ValueError(f"{where} is not a {kind.__name__}")
    return value

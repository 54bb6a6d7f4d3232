# SPDX-License-Identifier: Apache-2.0
"""The one place where records become JSON: a line for each event, then one for the result.

Every line is an object with the key `event`: `progress`, `source-failed`, `chunk`, `result` or
`error`. Keys are the fields' names; bytes become hex, paths text, enumerations their word.
"""

from __future__ import annotations

import dataclasses
import enum
import json
import os
from collections.abc import Mapping, Sequence

from images.events import Event, Progress, SourceFailed

_NAMES: dict[type, str] = {Progress: "progress", SourceFailed: "source-failed"}


def event_line(event: Event) -> str:
    """Return the line of an event of the engine."""
    return _line(_NAMES[type(event)], event)


def item_line(name: str, record: object) -> str:
    """Return the line of one item of a long answer."""
    return _line(name, record)


def result_line(verb: str, record: object) -> str:
    """Return the last line of a verb that did its work."""
    return _line("result", record, verb=verb)


def error_line(code: str, message: str, hint: str | None, exit_status: int) -> str:
    """Return the last line of a verb that failed."""
    return json.dumps(
        {
            "event": "error",
            "code": code,
            "message": message,
            "hint": hint,
            "exit_status": exit_status,
        }
    )


def _line(name: str, record: object, **head: str) -> str:
    body = _plain(record)
    assert isinstance(body, dict)
    return json.dumps({"event": name, **head, **body}, ensure_ascii=False)


def _plain(value: object) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            field.name: _plain(getattr(value, field.name)) for field in dataclasses.fields(value)
        }
    if isinstance(value, enum.Enum):
        return value.value if isinstance(value.value, str) else value.name.lower()
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Mapping):
        return {str(_plain(key)): _plain(item) for key, item in value.items()}
    if isinstance(value, str):
        return value
    if isinstance(value, Sequence):
        return [_plain(item) for item in value]
    return value

# SPDX-License-Identifier: Apache-2.0
"""Records as JSON: a line for each event, then one for the result.

Every line is an object with the key `event`: `progress`, `source-failed`, `step`, `notice`, `hook`,
`chunk`, `result` or `error`. What becomes of the fields: `plain`.
"""

from __future__ import annotations

import json

from images.events import Progress, SourceFailed
from updater.agent.events import AgentEvent, HookRan, Noticed, StepBegan
from updater.plain import to_plain

_NAMES: dict[type, str] = {
    Progress: "progress",
    SourceFailed: "source-failed",
    StepBegan: "step",
    Noticed: "notice",
    HookRan: "hook",
}


def event_line(event: AgentEvent) -> str:
    """Return the line of an event of the engine or the agent."""
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
    body = to_plain(record)
    assert isinstance(body, dict)
    return json.dumps({"event": name, **head, **body}, ensure_ascii=False)

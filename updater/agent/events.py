# SPDX-License-Identifier: Apache-2.0
"""What an update tells while it runs: its steps, beside the engine's progress and the hooks.

The same stream feeds the bar, JSON lines, sd_notify, and tests, which cut the power at each event.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from images.events import Event


class Step(enum.Enum):
    """One step of an update, in the order they are taken; the value is what users see."""

    FETCH_RELEASE = "fetch release"
    VERIFY_RELEASE = "verify release"
    FETCH_INDEXES = "fetch indexes"
    PLAN = "plan"
    DOWNLOAD = "download"
    RUN_HOOKS = "run hooks"
    MARK_BAD = "mark target bad"
    WRITE = "write slot"
    SETTLE = "settle"
    RECORD = "record"
    ACTIVATE = "activate"
    PROVE = "prove"
    MARK_GOOD = "mark good"


@dataclass(frozen=True, slots=True)
class StepBegan:
    """A step begins; the one before it is done, and durable.

    Attributes:
        subject: what it is done to: a slot's or a release's name, None where it needs none.
    """

    step: Step
    subject: str | None = None


@dataclass(frozen=True, slots=True)
class Noticed:
    """Something that a person should know and that stops nothing.

    Attributes:
        code: stable identifier, such as `agent.fell-back`.
    """

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class HookRan:
    """A hook was called.

    Attributes:
        name: `before`, `after` or `failed`.
        status: see `processes.Finished`.
        output: the end of what it printed.
        dropped: bytes that it printed before those.
    """

    name: str
    command: tuple[str, ...]
    status: int
    seconds: float
    timed_out: bool
    output: str
    dropped: int = 0


AgentEvent: TypeAlias = Event | StepBegan | Noticed | HookRan
AgentSink: TypeAlias = Callable[[AgentEvent], None]

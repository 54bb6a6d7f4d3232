# SPDX-License-Identifier: Apache-2.0
"""What long work tells while it runs.

One stream of frozen records; the progress bar, JSON lines, sd_notify and tests all read the same.
Events may come from worker threads, one at a time.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias


class Phase(enum.Enum):
    """What is being done; the value is the word that users see."""

    CHECK_TARGET = "check target"
    INDEX_SEEDS = "index seeds"
    ASK_STORES = "ask stores"
    ASSEMBLE = "assemble"
    FLUSH = "flush"
    VERIFY = "verify"
    MAKE = "make"
    COPY_CHUNKS = "copy chunks"
    CHECK_STORE = "check store"
    DIGEST = "digest"


@dataclass(frozen=True, slots=True)
class Progress:
    """`done` of `total` bytes of a phase; `total` is None where it is not known."""

    phase: Phase
    done: int
    total: int | None


@dataclass(frozen=True, slots=True)
class SourceFailed:
    """A store, a seed or the target's old content did not deliver; another source is asked next.

    Attributes:
        source: its name, without credentials.
        chunk: hex id, None when the source failed as a whole.
        code: of the error, such as `image.chunk-invalid`.
        message: the error in words.
    """

    source: str
    chunk: str | None
    code: str
    message: str


Event: TypeAlias = Progress | SourceFailed
EventSink: TypeAlias = Callable[[Event], None]


def ignore(event: Event) -> None:
    """Be the sink of those who do not want to know."""

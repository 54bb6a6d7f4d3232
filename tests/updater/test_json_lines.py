# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from images.digests import Digest
from images.events import Phase, Progress, SourceFailed
from images.sources import Source
from updater.json_lines import error_line, event_line, result_line


@dataclass(frozen=True, slots=True)
class Inner:
    count: int


@dataclass(frozen=True, slots=True)
class Record:
    digest: bytes
    path: Path
    algorithm: Digest
    by_source: dict[Source, Inner]
    some: tuple[Inner, ...]
    nothing: None


def test_a_record_becomes_plain_json() -> None:
    record = Record(
        *(b"\x01\xff", Path("/a"), Digest.SHA256, {Source.SEED: Inner(1)}, (Inner(2),), None)
    )
    assert json.loads(result_line("make", record)) == {
        "event": "result",
        "verb": "make",
        "digest": "01ff",
        "path": "/a",
        "algorithm": "sha256",
        "by_source": {"seed": {"count": 1}},
        "some": [{"count": 2}],
        "nothing": None,
    }


def test_events_have_their_names() -> None:
    assert json.loads(event_line(Progress(Phase.CHECK_TARGET, 1, None))) == {
        "event": "progress",
        "phase": "check target",
        "done": 1,
        "total": None,
    }
    assert json.loads(event_line(SourceFailed("s", None, "c", "m")))["event"] == "source-failed"


def test_a_line_is_one_line_whatever_is_in_it() -> None:
    line = error_line("c", "first\nsecond\u2028\udcff", None, 70)
    assert len(line.splitlines()) == 1
    line.encode()

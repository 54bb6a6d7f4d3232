# SPDX-License-Identifier: Apache-2.0
"""A strict reader of Prometheus' text format 0.0.4, as node_exporter's textfile collector has it.

Source: Prometheus documentation, "Exposition formats"; node_exporter, collector/textfile.go.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

HELP = re.compile(r"# HELP ([a-zA-Z_:][a-zA-Z0-9_:]*) ((?:[^\\\n]|\\[\\n])*)")
TYPE = re.compile(r"# TYPE ([a-zA-Z_:][a-zA-Z0-9_:]*) (counter|gauge)")
SAMPLE = re.compile(r"([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.+)\})? (-?[0-9.]+(?:e[+-]?[0-9]+)?)")
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"')


@dataclass(frozen=True, slots=True)
class Read:
    """One sample."""

    name: str
    labels: tuple[tuple[str, str], ...]
    value: float


def parse(text: str) -> list[Read]:
    """Read a file; anything that breaks a rule fails."""
    assert text == "" or text.endswith("\n")
    found: list[Read] = []
    done: set[str] = set()
    kinds: dict[str, str] = {}
    helped = ""
    for line in text.split("\n")[:-1]:
        if match := HELP.fullmatch(line):
            helped = match[1]
            assert helped not in done, f"{helped} stands in two places"
            done.add(helped)
        elif match := TYPE.fullmatch(line):
            assert match[1] == helped, "TYPE follows HELP"
            kinds[helped] = match[2]
            assert (match[2] == "counter") == helped.endswith("_total"), helped
        else:
            match = SAMPLE.fullmatch(line)
            assert match is not None, line
            assert match[1] == helped and helped in kinds, "samples follow their TYPE"
            found.append(Read(match[1], _labels(match[2]), float(match[3])))
    series = [(one.name, one.labels) for one in found]
    assert len(set(series)) == len(series), "a sample stands twice"
    return found


def _labels(text: str | None) -> tuple[tuple[str, str], ...]:
    labels, at = [], 0
    while text is not None and at < len(text):
        match = LABEL.match(text, at)
        assert match is not None, text[at:]
        labels.append((match[1], _plain(match[2])))
        at = match.end()
        assert at == len(text) or text[at] == ",", text[at:]
        at += 1
    names = [name for name, _ in labels]
    assert len(set(names)) == len(names), text
    return tuple(labels)


def _plain(text: str) -> str:
    return re.sub(r"\\(.)", lambda match: "\n" if match[1] == "n" else match[1], text)

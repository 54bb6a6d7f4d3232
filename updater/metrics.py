# SPDX-License-Identifier: Apache-2.0
"""Metrics as a file for the textfile collector of Prometheus' node_exporter.

Source: Prometheus, "Exposition formats", text format 0.0.4. No sample has a time: node_exporter
refuses those. The file is replaced in one step, so that nobody reads half of one.
"""

from __future__ import annotations

import enum
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType

from images.durable import replace_file

MODE = 0o644
"""node_exporter is a user of its own."""

MAX_LENGTH = 1 << 20
"""Bytes of a file that was written before; ours has some ten thousand."""

_NAME = re.compile(r"[a-z][a-z0-9_]*")
_SAMPLE = re.compile(r"([a-z][a-z0-9_]*)\{(.*)\} (\S+)")
_LABEL = re.compile(r'([a-z][a-z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(?:,|$)')
_ESCAPES = MappingProxyType({"\\": r"\\", '"': r"\"", "\n": r"\n"})


class Kind(enum.Enum):
    """What a number is; the value is the word of the format."""

    GAUGE = "gauge"
    COUNTER = "counter"


@dataclass(frozen=True, slots=True)
class Sample:
    """One number.

    Attributes:
        labels: what it is of; values are any text.
    """

    value: float
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Family:
    """All numbers of one name.

    Attributes:
        name: with the unit at its end, as Prometheus asks for; `_total` for a counter.
        meaning: for people, one line.
    """

    name: str
    kind: Kind
    meaning: str
    samples: Sequence[Sample]


def gauge(name: str, meaning: str, samples: Sequence[Sample]) -> Family:
    """Return a family of numbers that may go up and down."""
    return Family(name, Kind.GAUGE, meaning, samples)


def render(families: Iterable[Family]) -> str:
    """Return the text of a file; families without a sample are left out.

    Raises:
        ValueError: a name that is none, or a sample that stands twice.
    """
    lines: list[str] = []
    names: set[str] = set()
    for family in families:
        if not _NAME.fullmatch(family.name) or family.name in names:
            raise ValueError(f"{family.name!r} is no name for a metric, or stands twice")
        names.add(family.name)
        if not family.samples:
            continue
        lines.append(f"# HELP {family.name} {_escaped(family.meaning, quote=False)}")
        lines.append(f"# TYPE {family.name} {family.kind.value}")
        series = [f"{family.name}{_labels(sample.labels)}" for sample in family.samples]
        if len(set(series)) != len(series):
            raise ValueError(f"{family.name}: a sample stands twice")
        lines += [
            f"{name} {_number(sample.value)}"
            for name, sample in zip(series, family.samples, strict=True)
        ]
    return "".join(f"{line}\n" for line in lines)


def write(path: Path, families: Iterable[Family]) -> None:
    """Replace a file durably; its folder has to be there.

    Raises:
        NoSpace, NotAccessible, DeviceFault: it cannot be written; the one before stays.
    """
    replace_file(path, render(families).encode(), MODE)


def read_samples(path: Path, names: Iterable[str]) -> dict[str, list[Sample]]:
    """Return the samples with labels that a file of ours has under some names.

    What cannot be read is left out: the file is for others, and who loses it loses a few dates.
    """
    found: dict[str, list[Sample]] = {name: [] for name in names}
    try:
        with open(path, "rb") as file:
            text = file.read(MAX_LENGTH).decode("utf-8", "replace")
    except OSError:
        return found
    for line in text.split("\n"):
        match = _SAMPLE.fullmatch(line)
        if match is None or match[1] not in found:
            continue
        labels = {label[1]: _plain(label[2]) for label in _LABEL.finditer(match[2])}
        try:
            value = float(match[3])
        except ValueError:
            continue
        if labels and math.isfinite(value):
            found[match[1]].append(Sample(value, labels))
    return found


def _labels(labels: Mapping[str, str]) -> str:
    for name in labels:
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name for a label")
    inner = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())
    return f"{{{inner}}}" if inner else ""


def _escaped(text: str, *, quote: bool = True) -> str:
    # Of the error texts that may come here some hold bytes that are no UTF-8.
    text = text.encode("utf-8", "replace").decode()
    return "".join(char if char == '"' and not quote else _ESCAPES.get(char, char) for char in text)


def _plain(text: str) -> str:
    return re.sub(r"\\(.)", lambda match: "\n" if match[1] == "n" else match[1], text)


def _number(value: float) -> str:
    # Bytes and sequences are whole; as a float in exponential form they would lose digits.
    return str(value) if isinstance(value, int) else repr(float(value))

# SPDX-License-Identifier: Apache-2.0
"""Chunk sizes: minimum, average, maximum, and what casync derives from them.

Rules and constants: docs/formats.md, "Sizes" and "Discriminator".
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from images.errors import SettingInvalid

LIMIT = 128 << 20
"""The largest minimum, average, maximum or chunk, in bytes."""

WINDOW = 48
"""Bytes that decide about a cut."""

DEFAULT_AVERAGE = 64 << 10


@dataclass(frozen=True, slots=True)
class ChunkSizes:
    """Bytes a chunk may have. The last chunk of a blob may be shorter than `minimum`."""

    minimum: int
    average: int
    maximum: int

    def __post_init__(self) -> None:
        if not 1 <= self.minimum <= self.average <= self.maximum <= LIMIT:
            raise SettingInvalid(
                f"chunk sizes {self.minimum}:{self.average}:{self.maximum} are not in order, "
                f"or not within 1..{LIMIT}"
            )

    @property
    def fixed(self) -> bool:
        """Every chunk but the last has the same length, and nothing is hashed to find cuts."""
        return self.minimum == self.average == self.maximum

    @property
    def discriminator(self) -> int:
        """The divisor of the cut test, within minimum..maximum.

        In IEEE doubles, truncated towards zero. For averages from 9324557 on the quotient is
        negative; casync on x86-64 then ends at the maximum, and so do we on every CPU.
        """
        divisor = -1.42888852e-7 * self.average + 1.33237515
        quotient = int(self.average / divisor) if divisor else self.maximum
        if quotient < 0:
            return self.maximum
        return max(self.minimum, min(quotient, self.maximum))

    @property
    def degenerate(self) -> bool:
        """The average is so large that content no longer decides where chunks end."""
        return not self.fixed and self.discriminator >= self.maximum

    @classmethod
    def of(cls, average: int | None = None) -> ChunkSizes:
        """Derive minimum and maximum from the average, as casync does."""
        if average is None:
            average = DEFAULT_AVERAGE
        return cls(max(average // 4, 1), average, min(average * 4, LIMIT))

    @classmethod
    def parse(cls, text: str) -> ChunkSizes:
        """Read the value of `--chunk-size`: `auto`, `AVG` or `MIN:AVG:MAX`.

        Raises:
            SettingInvalid: not of that form, or out of range.
        """
        if text == "auto":
            return cls.of()
        parts = [parse_size(part) for part in text.split(":")]
        if len(parts) == 1:
            if not 1 <= parts[0] <= LIMIT:
                raise SettingInvalid(f"chunk size {text!r} is not within 1..{LIMIT}")
            return cls.of(parts[0])
        if len(parts) == 3:
            return cls(*parts)
        raise SettingInvalid(f"chunk size {text!r} is neither AVG nor MIN:AVG:MAX")


_UNITS = "EPTGMK"
_TERM = re.compile(r"\s*([0-9]+)(?:\.([0-9]+))?\s*([KMGTPEB]?)")


def parse_size(text: str) -> int:
    """Read a number of bytes as casync does: `65536`, `64K`, `1.5M`, `1M512K`.

    Terms stand in strictly descending unit and are added; units are powers of 1024, upper case.

    Raises:
        SettingInvalid: anything else.
    """
    total, position, last_exponent = 0, 0, 7
    stripped = text.rstrip()
    while position < len(stripped) or not stripped:
        term = _TERM.match(stripped, position)
        if term is None:
            raise SettingInvalid(f"not a size: {text!r}", hint="such as 65536, 64K or 1.5M")
        whole, fraction, unit = term.groups()
        exponent = 6 - _UNITS.index(unit) if unit and unit != "B" else 0
        if exponent >= last_exponent:
            raise SettingInvalid(f"units do not descend in {text!r}")
        scale = 1024**exponent
        total += int(whole) * scale
        if fraction:
            total += math.floor(int(fraction) * scale / 10 ** len(fraction))
        last_exponent, position = exponent, term.end()
    return total

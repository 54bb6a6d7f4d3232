# SPDX-License-Identifier: Apache-2.0
"""Seeds and targets as users name them: who only names one need not load what works with it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from images.sizes import parse_size

_REGION = re.compile(r"(?P<path>.+)@(?P<offset>[0-9][^@+]*)(?:\+(?P<length>[0-9][^@+]*))?")


@dataclass(frozen=True, slots=True)
class SeedSpec:
    """What to seed from.

    Attributes:
        path: block device, file or folder.
        offset: where in it to begin, in bytes.
        length: bytes to use, None for what the file system on a device says, or all of a file.
        index: the `.caibx` of what is there; it saves reading the whole seed.
    """

    path: Path
    offset: int = 0
    length: int | None = None
    index: Path | None = None

    @classmethod
    def parse(cls, text: str) -> SeedSpec:
        """Read the value of `--seed`.

        `PATH`, `PATH@OFFSET+LENGTH` for a region, `INDEX.caibx:PATH` for a seed with an index, or
        `INDEX.caibx` where the data is beside it under the same name without `.caibx`.

        Raises:
            SettingInvalid: the region's numbers are no sizes.
        """
        index: Path | None = None
        head, separator, rest = text.partition(".caibx:")
        if separator:
            index, text = Path(head + ".caibx"), rest
        elif text.endswith(".caibx"):
            index, text = Path(text), text.removesuffix(".caibx")
        region = _REGION.fullmatch(text)
        if region is None or Path(text).exists():
            return cls(Path(text), index=index)
        length = region["length"]
        return cls(
            Path(region["path"]),
            parse_size(region["offset"]),
            None if length is None else parse_size(length),
            index,
        )


@dataclass(frozen=True, slots=True)
class TargetSpec:
    """What to write to.

    Attributes:
        path: block device or file.
        offset: where in it the image begins, in bytes.
        length: bytes that the image may take from there, None for all that there are.
        in_place: write into an existing regular file instead of replacing it; implied by an
            offset or length.
    """

    path: Path
    offset: int = 0
    length: int | None = None
    in_place: bool = False

    @property
    def region(self) -> bool:
        """Only a part of the device or file is the target."""
        return self.offset != 0 or self.length is not None

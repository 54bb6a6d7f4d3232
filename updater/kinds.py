# SPDX-License-Identifier: Apache-2.0
"""What a verb's argument is: told by its suffix or by `--what`, as casync does."""

from __future__ import annotations

import enum
import stat
from pathlib import Path

from images.locator import LocalPath, Locator, parse_locator, without_query
from updater.arguments import UsageError


class Kind(enum.Enum):
    """The two kinds that caflip handles; casync's others are for trees."""

    BLOB = "blob"
    BLOB_INDEX = "blob-index"


STANDARD = "-"
"""The argument that means standard input or output."""

_INDEX_SUFFIX = ".caibx"
_TREE_SUFFIXES = (".catar", ".caidx")


def kind_of(argument: str, what: str | None) -> Kind | None:
    """Tell the kind of an argument; None where neither `--what` nor the suffix says it.

    Raises:
        UsageError: it is a tree or the archive of one.
    """
    if what in (Kind.BLOB.value, Kind.BLOB_INDEX.value):
        return Kind(what)
    if what is not None:
        raise UsageError(f"--what={what} is for directory trees, which come later")
    name = without_query(argument)
    if name.endswith(_TREE_SUFFIXES):
        raise UsageError(f"{argument} holds a directory tree, which caflip does not handle yet")
    return Kind.BLOB_INDEX if name.endswith(_INDEX_SUFFIX) else None


def index_locator(argument: str, what: str | None) -> Locator | None:
    """Return where an index is to be read from; None is standard input.

    Raises:
        UsageError: the argument is no index, as far as its name and `--what` tell.
        SettingInvalid: it is a location that cannot be used.
    """
    kind = kind_of(argument, what)
    if kind is Kind.BLOB or (kind is None and argument != STANDARD):
        raise UsageError(
            f"{argument} does not end in {_INDEX_SUFFIX}; if it is an index, add --what=blob-index"
        )
    return None if argument == STANDARD else parse_locator(argument)


def local_path(argument: str) -> Path:
    """Return the path of something that has to be on this machine.

    Raises:
        UsageError: it is a URL.
    """
    locator = parse_locator(argument)
    if not isinstance(locator, LocalPath):
        raise UsageError(f"{locator.name} has to be a local path")
    return Path(locator.path)


def refuse_folder(path: Path) -> None:
    """Refuse a directory where a blob is expected.

    Raises:
        UsageError: it is one.
    """
    try:
        is_folder = stat.S_ISDIR(path.stat().st_mode)
    except OSError:
        return  # the error of opening it says more
    if is_folder:
        raise UsageError(f"{path} is a directory; caflip does not handle trees yet")

# SPDX-License-Identifier: Apache-2.0
"""The texts of a release that name something, and where relative ones lead to.

Names are matched, never cleaned: there is no second reading of a path.
"""

from __future__ import annotations

import os
import re

from images.errors import SettingInvalid
from images.locator import HttpUrl, LocalPath, Locator, parse_locator, without_query
from updater.errors import ReleaseMalformed

MOST_NAME = 255
"""Bytes of a relative name; NAME_MAX of Linux, for one component."""

MOST_URL = 2048

_PART = r"[A-Za-z0-9_][A-Za-z0-9._@+-]*"
_INDEX = re.compile(rf"(?:{_PART}/)*{_PART}\.caibx")
_RELEASE = re.compile(rf"(?:{_PART}/)*{_PART}\.json")
_STORE = re.compile(rf"(?:\.\./)*(?:{_PART}/)*{_PART}")
_CLASS = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
_FINGERPRINT = re.compile(r"[0-9A-F]{40}|[0-9A-F]{64}")


def check_class(name: str) -> None:
    """Hold the name of a class of slots to its form: `rootfs`, up to 32 characters.

    Raises:
        ReleaseMalformed: it has another one.
    """
    if not _CLASS.fullmatch(name):
        raise ReleaseMalformed(f"{name[:64]!r} is no name of a class of slots")


def check_fingerprint(where: str, text: str) -> None:
    """Hold a fingerprint to its form; `openpgp.fingerprint` is for what people write.

    Raises:
        ReleaseMalformed: not 40 or 64 upper-case hexadecimal digits.
    """
    if not _FINGERPRINT.fullmatch(text):
        raise ReleaseMalformed(f"{where}: {text[:80]!r} is no fingerprint of 40 or 64 digits")


def check_index_name(where: str, text: str) -> None:
    """Hold the name of an index to its form: below the release's folder, ending in `.caibx`.

    Raises:
        ReleaseMalformed: it has another one.
    """
    if len(text) > MOST_NAME or not _INDEX.fullmatch(text):
        raise ReleaseMalformed(f"{where}: {text[:80]!r} is no name of an index below the release")


def is_release_name(text: str) -> bool:
    """Tell whether a pointer's text names a release below the pointer's folder."""
    return len(text) <= MOST_NAME and _RELEASE.fullmatch(text) is not None


def check_store(where: str, text: str) -> None:
    """Hold a store to its form: an http(s) URL, or a relative path, which may begin with `../`.

    Chunks need no trust, so a store may lie anywhere. A release is read by many: no credentials.

    Raises:
        ReleaseMalformed: it has another one.
    """
    if len(text) <= MOST_NAME and _STORE.fullmatch(text):
        return
    try:
        locator = parse_locator(text) if len(text) <= MOST_URL else None
    except SettingInvalid:
        locator = None
    if not isinstance(locator, HttpUrl) or locator.authorization or locator.url != locator.name:
        raise ReleaseMalformed(
            f"{where}: neither an http(s) URL without user and query, nor a relative path"
        )


def beside(base: Locator, relative: str) -> Locator:
    """Return what a relative name in the document at `base` means; a URL stays what it is.

    The query of `base` stays behind: where one is a token, it is that of one file.

    Args:
        base: where the document is.
        relative: checked before by one of the functions above.
    """
    if "://" in relative:
        return parse_locator(relative)
    if isinstance(base, LocalPath):
        return LocalPath(os.path.join(os.path.dirname(base.path) or ".", relative))
    scheme, _, rest = without_query(base.url).partition("://")
    host, *folders = rest.split("/")
    path = folders[:-1]
    for part in relative.split("/"):
        if part != "..":
            path.append(part)
        elif path:
            path.pop()
    return HttpUrl(f"{scheme}://{'/'.join([host, *path])}", base.authorization)


def with_suffix(base: Locator, suffix: str) -> Locator:
    """Return the locator of the file whose name has something added, such as `.asc`."""
    if isinstance(base, LocalPath):
        return LocalPath(base.path + suffix)
    name = without_query(base.url)
    return HttpUrl(name + suffix + base.url[len(name) :], base.authorization)

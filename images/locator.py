# SPDX-License-Identifier: Apache-2.0
"""Where an index or a store is: a path or a URL, told apart as casync does.

Classes and the derivation of the store: docs/formats.md, "Locators" (casync `src/cautil.c`,
`ca_classify_locator` and `ca_locator_patch_last_component`). Not supported, and refused by name:
ssh (`host:path`) and URLs that are not http, https or file.
"""

from __future__ import annotations

import base64
import os
import re
from dataclasses import dataclass, field
from typing import TypeAlias
from urllib.parse import unquote, unquote_to_bytes, urlsplit, urlunsplit

from images.errors import SettingInvalid

DEFAULT_STORE = "default.castr"

_SCHEME = re.compile(r"([a-z][a-z0-9+.-]*)://")
_AUTHORITY = re.compile(r"[A-Za-z0-9\-_.@:\[\]%]+(?=[/;?]|\Z)")
_SSH = re.compile(r"(?:[A-Za-z0-9\-_.]+@)?[A-Za-z0-9\-_.]+:.+", re.DOTALL)
_USER = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*://)[^/?;#]*@")
_UNPRINTABLE = re.compile(r"[^!-~]")
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class LocalPath:
    """A path, as it was given."""

    path: str

    @property
    def name(self) -> str:
        """What users see."""
        return self.path


@dataclass(frozen=True, slots=True)
class HttpUrl:
    """An http or https URL.

    Attributes:
        url: without user and password.
        authorization: value of the header that these became, None where there were none.
    """

    url: str
    authorization: str | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        """What users see: no credentials, no query (which may hold a token)."""
        return without_query(self.url)


Locator: TypeAlias = LocalPath | HttpUrl


def parse_locator(text: str) -> Locator:
    """Tell a path from a URL.

    Raises:
        SettingInvalid: empty, ssh, a scheme that is not supported, or a malformed URL.
    """
    if not text:
        raise SettingInvalid("an empty path or URL")
    if text.startswith(("/", "./")) or text in (".", ".."):
        return LocalPath(text)
    if scheme := _SCHEME.match(text):
        return _parse_url(text, scheme)
    if _SSH.fullmatch(text):
        raise SettingInvalid(
            f"{text!r} is an ssh location, which is not supported",
            hint="use a path or an http(s) URL; write ./name for a file with a colon in its name",
        )
    return LocalPath(text)


def default_store(index: Locator) -> Locator:
    """Derive the store of an index: its last component becomes `default.castr`."""
    if isinstance(index, LocalPath):
        folder, slash, _ = index.path.rpartition("/")
        return LocalPath(f"{folder}{slash}{DEFAULT_STORE}")
    origin, path = _split_path(without_query(index.url))
    folder, _, _ = path.rpartition("/")
    return HttpUrl(f"{origin}{folder}/{DEFAULT_STORE}", index.authorization)


def chunk_base(url: str) -> str:
    """Return what chunk paths are appended to: no query, no parameters, no slash at the end."""
    return without_query(url).rstrip("/")


def origin_of(url: str) -> tuple[str, str, int]:
    """Return scheme, host and port: what decides who may see credentials.

    Raises:
        SettingInvalid: no http or https URL, or one without a host.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in _PORTS or not parts.hostname:
        raise SettingInvalid(f"not an http(s) URL: {without_credentials(without_query(url))!r}")
    return parts.scheme, parts.hostname, _PORTS[parts.scheme] if port is None else port


def without_query(url: str) -> str:
    """Cut a URL at its first `?` or `;`, as casync does for stores; a fragment goes too."""
    return re.split(r"[?;#]", url, maxsplit=1)[0]


def without_credentials(text: str) -> str:
    """Return a URL without `user:password@`; other text stays as it is."""
    return _USER.sub(r"\1", text)


def _parse_url(text: str, scheme: re.Match[str]) -> Locator:
    if scheme[1] == "file":
        rest = text[scheme.end() :].removeprefix("localhost")
        if not rest.startswith("/"):
            raise SettingInvalid(f"{text!r} names a file on another host")
        return LocalPath(os.fsdecode(unquote_to_bytes(os.fsencode(rest))))
    if scheme[1] not in _PORTS:
        raise SettingInvalid(
            f"{scheme[1]!r} URLs are not supported", hint="use a path or an http(s) URL"
        )
    authority = _AUTHORITY.match(text, scheme.end())
    if authority is None or _UNPRINTABLE.search(text):
        raise _unusable(text)
    user, at, _ = authority[0].rpartition("@")
    url = without_credentials(text)
    # A `;` in a password ends the host here and for casync, and does not for who connects.
    if "@" in re.split(r"[/?#]", url[scheme.end() :], maxsplit=1)[0]:
        raise _unusable(text)
    try:
        origin_of(url)
        origin_of(without_query(url))  # what a store is derived from
    except SettingInvalid:
        raise _unusable(text) from None
    return HttpUrl(url, _basic(user) if at else None)


def _unusable(text: str) -> SettingInvalid:
    # Where the password of a malformed URL ends is anyone's guess: such a text is not repeated.
    shown = "(not shown)" if "@" in text else repr(text)
    return SettingInvalid(
        f"not a URL that can be used: {shown}",
        hint="write special characters of user, password and path as %XX",
    )


def _basic(user: str) -> str:
    name, _, password = user.partition(":")
    pair = f"{unquote(name)}:{unquote(password)}".encode()
    return "Basic " + base64.b64encode(pair).decode("ascii")


def _split_path(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc, "", "", "")), parts.path

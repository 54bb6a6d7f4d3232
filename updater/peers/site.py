# SPDX-License-Identifier: Apache-2.0
"""Who belongs together: devices of one site, which share a secret or, without one, a network.

The secret signs each request for the one address that it goes to, so that what a neighbour hears
from us opens no other neighbour's door. It also makes the tags that are announced: only who knows
it can tell what they stand for. There is no time in any of it; clocks may be wrong by years.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from pathlib import Path

from images.errors import NotAccessible, SettingInvalid

SECRET_LENGTHS = (16, 4096)
"""Bytes of a secret; less could be guessed."""

TAG_DIGITS = 16
"""Hexadecimal digits of a tag: no two releases of one site are taken for each other."""


@dataclass(frozen=True, slots=True)
class Site:
    """What the devices of one place have in common.

    Attributes:
        name: sites of different names have nothing to do with each other.
        secret: None: whoever is on the network may ask.
    """

    name: str
    secret: bytes | None = field(repr=False)

    @classmethod
    def load(cls, name: str, path: Path | None) -> Site:
        """Read the secret.

        Raises:
            NotAccessible: the file cannot be read.
            SettingInvalid: it is too short or too long.
        """
        if path is None:
            return cls(name, None)
        try:
            with path.open("rb") as file:
                secret = file.read(SECRET_LENGTHS[1] + 1).strip()
        except OSError as error:
            raise NotAccessible(f"{path}: {error.strerror}") from error
        if not SECRET_LENGTHS[0] <= len(secret) <= SECRET_LENGTHS[1]:
            raise SettingInvalid(
                f"{path} has {len(secret)} bytes; a site's secret has {SECRET_LENGTHS[0]} to "
                f"{SECRET_LENGTHS[1]}",
                hint="such as `openssl rand -hex 32` makes",
            )
        return cls(name, secret)

    def tag(self, identity: str, subject: bytes) -> str:
        """Return what a device announces for something: other devices announce it otherwise."""
        message = b"\0".join((b"caflip tag 1", self.name.encode(), identity.encode(), subject))
        return self._digest(message)[:TAG_DIGITS]

    def query(self, address: str, path: str) -> str:
        """Return what proves our right to ask for a path there.

        Args:
            address: numeric host and port as URLs have them, without a zone: `[fe80::1]:80`.
            path: begins with a slash.
        """
        return "" if self.secret is None else f"?site={self._proof(address, path)}"

    def admits(self, address: str, path: str, query: str) -> bool:
        """Tell whether a request to us may be answered."""
        if self.secret is None:
            return True
        return hmac.compare_digest(query.encode(), f"site={self._proof(address, path)}".encode())

    def _proof(self, address: str, path: str) -> str:
        return self._digest(b"\0".join((b"caflip ask 1", address.encode(), path.encode())))

    def _digest(self, message: bytes) -> str:
        return hmac.new(self.secret or b"", message, hashlib.sha256).hexdigest()

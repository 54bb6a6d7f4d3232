# SPDX-License-Identifier: Apache-2.0
"""Real keys and signatures, made by gpg itself and not by the code that is tested."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from updater.releases.openpgp import Armor, binary
from updater.releases.signatures import Trust

NOW = datetime(2026, 11, 20, tzinfo=UTC)
"""The present of most tests; no key, signature or release depends on the machine's clock."""

MADE = NOW - timedelta(days=30)
"""When keys were made."""


class SigningKeys:
    """A GnuPG home with keys under short names.

    alice, bob, carol   are good for ever
    sub                 signs with a subkey
    old                 expired ten days before `NOW`
    revoked             signed, and was revoked afterwards
    mallory             is trusted by nobody
    """

    def __init__(self) -> None:
        # A socket's path has at most 107 bytes: not below pytest's own folder.
        self._folder = tempfile.TemporaryDirectory(prefix="cf-keys-", dir="/tmp")
        self.home = Path(self._folder.name)
        self.fingerprints: dict[str, str] = {}
        for name in ("alice", "bob", "carol", "mallory", "revoked"):
            self._make(name)
        self._make("old", expires=(NOW - timedelta(days=10)).strftime("%Y%m%dT%H%M%S"))
        self._make("sub", usage="cert")
        self.gpg("--quick-add-key", self.fingerprints["sub"], "ed25519", "sign", "never", at=MADE)
        self._clean_revoked = self.gpg("--export", self.fingerprints["revoked"])
        revocation = self.home / "openpgp-revocs.d" / f"{self.fingerprints['revoked']}.rev"
        # gpg puts a colon in front, so that nobody imports it by mistake.
        self.revocation = revocation.read_text().replace(":-----BEGIN", "-----BEGIN").encode()

    def close(self) -> None:
        _end_agent(self.home)
        self._folder.cleanup()

    def gpg(
        self,
        *arguments: str | Path,
        at: datetime = NOW,
        data: bytes = b"",
        home: Path | None = None,
    ) -> bytes:
        done = subprocess.run(
            [
                *("gpg", "--homedir", str(home or self.home), "--batch", "--no-tty", "--quiet"),
                *("--pinentry-mode", "loopback", "--passphrase", "", "--trust-model", "always"),
                *("--faked-system-time", at.strftime("%Y%m%dT%H%M%S")),
                *map(str, arguments),
            ],
            input=data,
            capture_output=True,
            check=False,
            env={"PATH": os.environ["PATH"], "LC_ALL": "C"},
            timeout=60,
        )
        assert done.returncode == 0, done.stderr.decode()
        return done.stdout

    def sign(
        self, data: bytes, *names: str, at: datetime = MADE + timedelta(days=1), more: str = ""
    ) -> bytes:
        """Return armored detached signatures, one after the other."""
        found = b""
        for name in names:
            key = self.fingerprints[name]
            arguments = ("--armor", *more.split(), "--local-user", key, "--detach-sign")
            found += self.gpg(*arguments, at=at, data=data)
        return found

    def sign_in_spite_of_expiry(self, data: bytes, name: str, at: datetime) -> bytes:
        """Sign with a copy of the home, in which the key was given more time."""
        with tempfile.TemporaryDirectory(prefix="cf-copy-", dir="/tmp") as folder:
            copy = Path(folder) / "home"
            shutil.copytree(self.home, copy, ignore=shutil.ignore_patterns("S.*"))
            name = self.fingerprints[name]
            try:
                more = ("--quick-set-expire", name, "seconds=315360000")
                self.gpg(*more, at=MADE + timedelta(days=1), home=copy)
                asked = ("--armor", "--local-user", name, "--detach-sign")
                return self.gpg(*asked, at=at, data=data, home=copy)
            finally:
                _end_agent(copy)

    def public(self, *names: str) -> bytes:
        """Return public keys as packets."""
        return b"".join(self.gpg("--export", self.fingerprints[name]) for name in names)

    def armored(self, name: str) -> str:
        return self.gpg("--armor", "--export", self.fingerprints[name]).decode()

    def trust(self, *names: str, threshold: int = 1, version: int = 0) -> Trust:
        """Return a trust that pins these keys."""
        pins = [self.fingerprints[name] for name in names]
        return Trust.of(self.public(*names), pins, threshold, version)

    def revoked_public(self) -> bytes:
        """Return the public key of `revoked` together with its revocation."""
        with tempfile.TemporaryDirectory(prefix="cf-rev-", dir="/tmp") as folder:
            alone = ("gpg", "--homedir", folder, "--batch", "--quiet", "--no-autostart")
            for source in (self._clean_revoked, self.revocation):
                subprocess.run([*alone, "--import"], input=source, check=True, capture_output=True)
            return subprocess.run([*alone, "--export"], check=True, capture_output=True).stdout

    def _make(self, name: str, *, usage: str = "sign", expires: str = "never") -> None:
        user = f"{name} <{name}@example.org>"
        self.gpg("--quick-generate-key", user, "ed25519", usage, expires, at=MADE)
        listed = self.gpg("--with-colons", "--list-keys", f"={user}").decode()
        fields = next(line for line in listed.splitlines() if line.startswith("fpr:")).split(":")
        self.fingerprints[name] = fields[9]


def packets(armored: bytes) -> bytes:
    return binary(armored, Armor.SIGNATURE)


def _end_agent(home: Path) -> None:
    command = ["gpgconf", "--homedir", str(home), "--kill", "all"]
    subprocess.run(command, check=True, capture_output=True)

# SPDX-License-Identifier: Apache-2.0
"""A GnuPG home as people who publish have one: keys are made, listed and used through python-gnupg.

Devices do not come here: what they verify, they verify in `verdicts`. Whoever uses a home starts a
gpg-agent for it; one that was not there before is ended again.
"""

from __future__ import annotations

import logging
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from images.durable import os_errors
from updater.errors import KeyringUnusable, SigningFailed

AGENT_END_S = 5.0
_TOOL_TIMEOUT_S = 20.0
_QUIET = ("--no-auto-check-trustdb", "--no-greeting", "--quiet")


@dataclass(frozen=True, slots=True)
class KeyFacts:
    """A primary key in a home or keyring.

    Attributes:
        user_id: the first one.
        expires: None if never.
        revoked: whether its owner says that it is not to be trusted.
    """

    fingerprint: str
    user_id: str
    created: datetime
    expires: datetime | None
    revoked: bool

    def state(self, now: datetime) -> str:
        """Return `valid`, `expired` or `revoked`."""
        if self.revoked:
            return "revoked"
        return "expired" if self.expires is not None and self.expires <= now else "valid"


class GnupgHome:
    """An open home; see `open_home` and `temporary_home`."""

    def __init__(self, path: Path | None, options: Sequence[str] = ()) -> None:
        """Args: `path` is None for the user's own.

        Raises:
            KeyringUnusable: there is no gpg, no python-gnupg, or no such folder.
        """
        try:
            import gnupg
        except ImportError as error:
            raise KeyringUnusable(
                "there is no python-gnupg", hint="pip install python-gnupg"
            ) from error
        # It logs whatever gpg complains of; errors of ours say it.
        logging.getLogger("gnupg").setLevel(logging.CRITICAL)
        home = None if path is None else str(path)
        try:
            self._gpg = gnupg.GPG(gnupghome=home, options=[*_QUIET, *options])
        except (OSError, ValueError) as error:
            raise KeyringUnusable(f"gpg does not work: {error}", hint="install GnuPG") from error
        self._gpg.encoding = "utf-8"

    def make_key(self, user_id: str, valid_for: timedelta | None, passphrase: str | None) -> str:
        """Make an ed25519 key that can certify and sign, and return its fingerprint.

        Args:
            user_id: such as `Releases <releases@example.org>`.
            valid_for: None for ever.
            passphrase: "" for none; None to have gpg ask for it.

        Raises:
            SigningFailed: gpg says no.
        """
        name, _, email = user_id.strip().removesuffix(">").partition("<")
        if not user_id.isprintable() or not name.strip():
            raise SigningFailed(f"{user_id!r} is no user id such as `Releases <r@example.org>`")
        # python-gnupg always adds an address; the one of an unnamed key would be this machine's.
        fields: dict[str, object] = {
            "key_type": "EDDSA",
            "key_curve": "ed25519",
            "key_usage": "sign",
            "name_real": name.strip(),
            "name_email": email.strip(),
            "expire_date": 0 if valid_for is None else f"seconds={int(valid_for.total_seconds())}",
        }
        if passphrase:
            fields["passphrase"] = passphrase
        parameters = self._gpg.gen_key_input(no_protection=passphrase == "", **fields)
        if not email.strip():
            lines = parameters.splitlines(keepends=True)
            parameters = "".join(line for line in lines if not line.startswith("Name-Email:"))
        made = self._gpg.gen_key(parameters)
        if not made.fingerprint:
            raise SigningFailed(f"gpg made no key: {_last(made.stderr)}", hint=_hint(made.stderr))
        return str(made.fingerprint)

    def sign(self, data: bytes, key: str, passphrase: str | None) -> bytes:
        """Return an armored, detached signature.

        Args:
            data: to be signed.
            key: fingerprint of the primary key, or of a subkey with `!` after it.
            passphrase: None to leave that to the agent.

        Raises:
            SigningFailed: no such secret key, a wrong passphrase, an expired key.
        """
        strict = ["--local-user", key, "--digest-algo", "SHA512"]
        signed = self._gpg.sign(data, passphrase=passphrase, detach=True, extra_args=strict)
        if signed.status != "signature created" or not signed.data:
            raise SigningFailed(
                f"gpg did not sign with {key}: {_last(signed.stderr)}", hint=_hint(signed.stderr)
            )
        return bytes(signed.data)

    def import_public(self, data: bytes) -> None:
        """Add public keys, and revocations of keys that are there.

        Raises:
            KeyringUnusable: gpg takes none of it.
        """
        done = self._gpg.import_keys(data)
        if done.count is None or (not done.count and "KEYREVOKED" not in done.stderr.upper()):
            raise KeyringUnusable(f"gpg imports nothing of it: {_last(done.stderr)}")

    def export_public(self, fingerprints: Sequence[str] = ()) -> bytes:
        """Return public keys as packets, with no more than is needed to verify.

        Args:
            fingerprints: empty for all.

        Raises:
            KeyringUnusable: one of them is not there.
        """
        there = {facts.fingerprint for facts in self.keys()}
        for name in fingerprints:
            if name not in there:
                raise KeyringUnusable(f"there is no key {name}")
        if not there:
            return b""
        return bytes(self._gpg.export_keys(list(fingerprints), armor=False, minimal=True))

    def keys(self) -> list[KeyFacts]:
        """Return the primary keys."""
        return [
            KeyFacts(
                key["fingerprint"],
                key["uids"][0] if key["uids"] else "",
                _moment(key["date"]),
                _moment(key["expires"]) if key["expires"] else None,
                key["trust"] == "r",
            )
            for key in self._gpg.list_keys()
        ]


@contextmanager
def open_home(path: Path | None, *, create: bool = False) -> Iterator[GnupgHome]:
    """Open a home; an agent that was started on the way is ended with the block.

    Args:
        path: None for the user's own.
        create: make the folder if it is not there, for nobody else to read.

    Raises:
        NotAccessible: it cannot be made.
        KeyringUnusable: see `GnupgHome`.
    """
    if path is not None and create:
        with os_errors(str(path)):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
    if path is not None and not path.is_dir():
        raise KeyringUnusable(
            f"there is no GnuPG home {path}", hint="`caflip keys make --gnupg-home=DIR` makes one"
        )
    before = _agent_of(path)
    try:
        yield GnupgHome(path)
    finally:
        if before is None:
            _end_agent(path)


@contextmanager
def temporary_home() -> Iterator[GnupgHome]:
    """Open an empty home for public keys, with no agent; it goes with the block."""
    with tempfile.TemporaryDirectory(prefix="caflip-keys-") as folder:
        yield GnupgHome(Path(folder), ("--no-options", "--no-autostart", "--disable-dirmngr"))


def _agent_of(home: Path | None) -> int | None:
    """Return the process id of the agent that runs for a home."""
    where = () if home is None else ("--homedir", str(home))
    try:
        done = subprocess.run(
            ["gpg-connect-agent", *where, "--no-autostart", "GETINFO pid", "/bye"],
            capture_output=True,
            timeout=_TOOL_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    for line in done.stdout.splitlines():
        if line.startswith(b"D ") and line[2:].strip().isdigit():
            return int(line[2:])
    return None


def _end_agent(home: Path | None) -> None:
    agent = _agent_of(home)
    if agent is None:
        return
    where = () if home is None else ("--homedir", str(home))
    with suppress(OSError, subprocess.TimeoutExpired):
        subprocess.run(
            ["gpgconf", *where, "--kill", "all"],
            capture_output=True,
            timeout=_TOOL_TIMEOUT_S,
            check=False,
        )
    until = time.monotonic() + AGENT_END_S
    while time.monotonic() < until and os.path.exists(f"/proc/{agent}"):
        time.sleep(0.01)


def _moment(seconds: str) -> datetime:
    return datetime.fromtimestamp(int(seconds), UTC)


def _last(stderr: str) -> str:
    """Return the last line that is meant for people."""
    lines = [line for line in (stderr or "").splitlines() if not line.startswith("[GNUPG:]")]
    return lines[-1].removeprefix("gpg: ") if lines else "no reason given"


def _hint(stderr: str) -> str | None:
    """Return what helps where gpg's own words do not say it."""
    if "no agent running" in (stderr or "").lower():
        # unix(7): the path of a socket has at most 107 bytes.
        return "gpg's agent has its socket in the GnuPG home: give that a shorter path"
    return None

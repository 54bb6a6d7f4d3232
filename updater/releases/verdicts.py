# SPDX-License-Identifier: Apache-2.0
"""One signature, one gpg, one verdict."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from updater.errors import (
    KeyExpired,
    KeyRevoked,
    KeyringUnusable,
    ReleaseRefused,
    SignatureExpired,
    SignatureMalformed,
    Tampered,
    WeakDigest,
    WrongKey,
)

PROGRAM = "gpg"
TIMEOUT_S = 60.0
"""A signature takes some 10 ms; this is for a machine on its knees."""

STRONG_DIGESTS = frozenset({8, 9, 10, 12, 14})
"""SHA-256, -384, -512, SHA3-256 and -512 (RFC 9580, 9.5). Not MD5, SHA-1, RIPEMD-160, SHA-224."""

BINARY_DOCUMENT = 0x00
"""Type of a signature over bytes as they are (RFC 9580, 5.2.1.1); 0x01 is over normalised text."""

_PREFIX = "[GNUPG:] "
_NO_PUBLIC_KEY = 9  # gpg-error's GPG_ERR_NO_PUBKEY
_DIGEST_ALGORITHM = 5  # GPG_ERR_DIGEST_ALGO
_SAY = ("GOODSIG", "EXPSIG", "EXPKEYSIG", "REVKEYSIG", "BADSIG", "ERRSIG")

_OPTIONS = (
    *("--no-options", "--batch", "--no-tty", "--quiet", "--no-autostart", "--disable-dirmngr"),
    *("--no-auto-key-locate", "--no-auto-key-retrieve", "--no-default-keyring"),
    *("--trust-model", "always", "--no-auto-check-trustdb", "--no-sig-cache", "--lock-never"),
    *("--no-random-seed-file", "--ignore-time-conflict", "--status-fd", "1"),
    *("--weak-digest", "SHA1", "--weak-digest", "RIPEMD160"),
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What gpg says of one signature.

    Attributes:
        refusal: why it does not count; None if it is good.
        primary: fingerprint of the primary key; empty where gpg does not know it.
        signing_key: fingerprint of the key that signed.
        user_id: of the primary key.
        signed: when, as the signature says; None where gpg does not say.
    """

    refusal: ReleaseRefused | None
    primary: str = ""
    signing_key: str = ""
    user_id: str = ""
    signed: datetime | None = None


class Verifier:
    """A private folder with a keyring, and gpg on it. The folder goes at the end of the block."""

    def __init__(self, keyring: bytes) -> None:
        """Args: `keyring` is public keys as packets."""
        self._keyring = keyring
        self._folder = tempfile.TemporaryDirectory(prefix="caflip-trust-")

    def __enter__(self) -> Self:
        self._home = Path(self._folder.name)
        try:
            (self._home / "trusted.gpg").write_bytes(self._keyring)
        except OSError as error:
            self._folder.cleanup()
            raise KeyringUnusable(f"{self._home}: {error.strerror}") from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._folder.cleanup()

    def verify(self, data: bytes, signature: bytes, at: datetime) -> Verdict:
        """Verify one signature.

        Args:
            data: what was signed.
            signature: one signature packet.
            at: the time that dates of keys and signatures are compared with.

        Raises:
            KeyringUnusable: there is no gpg, or it does not work.
        """
        file = self._home / "signature"
        file.write_bytes(signature)
        command = [
            PROGRAM,
            *_OPTIONS,
            *("--homedir", str(self._home), "--keyring", str(self._home / "trusted.gpg")),
            *("--faked-system-time", at.astimezone(UTC).strftime("%Y%m%dT%H%M%S")),
            *("--verify", "--", str(file), "-"),
        ]
        try:
            done = subprocess.run(
                command,
                input=data,
                capture_output=True,
                env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"},
                timeout=TIMEOUT_S,
                check=False,
            )
        except FileNotFoundError as error:
            raise KeyringUnusable("there is no gpg", hint="install GnuPG (gpg)") from error
        except (OSError, subprocess.TimeoutExpired) as error:
            raise KeyringUnusable(f"gpg does not work: {error}") from error
        return read_status(done.stdout.decode("utf-8", "replace"), done.returncode)


def read_status(output: str, exit_status: int) -> Verdict:
    """Turn the status lines about one signature into a verdict.

    Only one combination is good: exit status 0, one NEWSIG, one GOODSIG and no other opinion, one
    VALIDSIG, over bytes, with a strong digest. What is not understood is refused.
    """
    lines = list(_lines(output))
    said = [(word, rest) for word, rest in lines if word in _SAY]
    valid = [rest.split() for word, rest in lines if word == "VALIDSIG"]
    news = sum(word == "NEWSIG" for word, _ in lines)
    if news != 1 or len(said) != 1 or len(valid) > 1:
        return Verdict(SignatureMalformed("gpg cannot make one signature of it"))
    word, rest = said[0]
    key, _, user_id = rest.partition(" ")
    if word == "ERRSIG":
        return Verdict(_error(key, rest.split()))
    if word == "BADSIG":
        return Verdict(Tampered(f"the signature by {key} is not one of these bytes"))
    if not valid or len(valid[0]) < 10:
        return Verdict(SignatureMalformed("gpg does not say by which key it is signed"))
    fields = valid[0]
    primary, signing_key, signed = fields[9], fields[0], _time(fields[2])
    refusal = _refusal(word, primary, fields)
    if refusal is None and exit_status != 0:
        refusal = SignatureMalformed(f"gpg ended with status {exit_status}")
    return Verdict(refusal, primary, signing_key, user_id, signed)


def _refusal(word: str, primary: str, fields: list[str]) -> ReleaseRefused | None:
    if word == "EXPKEYSIG":
        return KeyExpired(f"signed by {primary}, which has expired")
    if word == "REVKEYSIG":
        return KeyRevoked(f"signed by {primary}, which is revoked")
    if word == "EXPSIG":
        return SignatureExpired(f"the signature by {primary} has expired")
    if int(fields[7]) not in STRONG_DIGESTS:
        return WeakDigest(f"signed by {primary} over a weak digest (algorithm {fields[7]})")
    if int(fields[8], 16) != BINARY_DOCUMENT:
        return SignatureMalformed(f"signed by {primary} as text, or as something else than bytes")
    return None


def _error(key: str, fields: list[str]) -> ReleaseRefused:
    """Read ERRSIG: key id, algorithm, digest, class, time, reason, fingerprint."""
    reason = int(fields[5]) if len(fields) > 5 and fields[5].isdigit() else 0
    if reason == _NO_PUBLIC_KEY:
        name = fields[6] if len(fields) > 6 and fields[6] != "-" else key
        return WrongKey(f"signed by {name}, which is not trusted here")
    if reason == _DIGEST_ALGORITHM:
        return WeakDigest(f"signed by {key} over a weak digest (algorithm {fields[2]})")
    return SignatureMalformed(f"gpg cannot check the signature by {key} (error {reason})")


def _lines(output: str) -> Iterator[tuple[str, str]]:
    for line in output.split("\n"):
        if line.startswith(_PREFIX):
            word, _, rest = line.removeprefix(_PREFIX).partition(" ")
            yield word, rest


def _time(seconds: str) -> datetime | None:
    return datetime.fromtimestamp(int(seconds), UTC) if seconds.isdigit() else None

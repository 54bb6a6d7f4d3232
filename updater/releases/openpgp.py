# SPDX-License-Identifier: Apache-2.0
"""Armor and packet headers of OpenPGP (RFC 9580), as far as files are taken apart by them.

Nothing is verified here. It is made sure that a signature file holds signatures and nothing else,
and each of them is had on its own; and a public key's fingerprint is computed.
"""

from __future__ import annotations

import base64
import binascii
import enum
import hashlib
import re
from collections.abc import Iterator


class Malformed(ValueError):
    """The bytes are not what OpenPGP has there."""


class Armor(enum.Enum):
    """What may be armored (RFC 9580, 6.2)."""

    SIGNATURE = "SIGNATURE"
    PUBLIC_KEY = "PUBLIC KEY BLOCK"


class Tag(enum.IntEnum):
    """Types of packets (RFC 9580, 5)."""

    SIGNATURE = 2
    PUBLIC_KEY = 6
    TRUST = 12
    USER_ID = 13
    PUBLIC_SUBKEY = 14
    USER_ATTRIBUTE = 17


_BLOCK = re.compile(
    rb"(?:\A|(?<=\n))\s*-----BEGIN PGP ([A-Z ]+)-----[ \t]*\r?\n"
    rb"(?:[A-Za-z]+: [^\r\n]*\r?\n)*[ \t]*\r?\n"
    rb"([A-Za-z0-9+/=\s]*?)"
    rb"(?:\n=[A-Za-z0-9+/]{4}[ \t]*\r?)?\n"
    rb"-----END PGP \1-----\s*"
)
_NEW_FORMAT = 0x40
_PARTIAL = range(224, 255)
_FINGERPRINT = re.compile(r"[0-9A-F]{40}|[0-9A-F]{64}")
_OF_A_PUBLIC_KEY = frozenset(Tag) - {Tag.PUBLIC_KEY}


def fingerprint(text: str) -> str:
    """Return a fingerprint as people write it in the one form: upper case, no spaces.

    Raises:
        Malformed: not 40 or 64 hexadecimal digits. A short id is none: it can be forged.
    """
    joined = "".join(text.split()).upper().removeprefix("0X")
    if not _FINGERPRINT.fullmatch(joined):
        raise Malformed(f"{text[:80]!r} is no fingerprint of 40 or 64 hexadecimal digits")
    return joined


def binary(data: bytes, kind: Armor, *, text_beside: bool = False) -> bytes:
    """Return packets without their armor, of one block or several; bare packets as they are.

    The checksum of the armor is not looked at: it protects nothing (RFC 9580, 6.1).

    Args:
        data: packets or armor.
        kind: of the armor.
        text_beside: pass over text before the armor, as in revocations that gpg wrote.

    Raises:
        Malformed: armor of another kind, or text beside it.
    """
    if not data or data[0] & 0x80:
        return data
    packets, at = [], 0
    while at < len(data):
        block = _BLOCK.search(data, at) if text_beside else _BLOCK.match(data, at)
        if block is None:
            raise Malformed("neither packets nor armor")
        if block[1].decode() != kind.value:
            raise Malformed(f"a PGP {block[1].decode()} where a PGP {kind.value} should be")
        try:
            packets.append(base64.b64decode(b"".join(block[2].split()), validate=True))
        except binascii.Error as error:
            raise Malformed(f"armor: {error}") from None
        at = block.end()
    return b"".join(packets)


def packets_of(data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Yield the type, the whole, and the body of each packet.

    Raises:
        Malformed: a header that is none, an unknown length, or a packet that is cut.
    """
    at = 0
    while at < len(data):
        tag, start, length = _header(data[at : at + 6])
        whole = data[at : at + start + length]
        if len(whole) != start + length:
            raise Malformed("a packet is cut short")
        yield tag, whole, whole[start:]
        at += len(whole)


def signatures_in(data: bytes) -> list[bytes]:
    """Return each signature of a file of detached signatures, as a packet of its own.

    Raises:
        Malformed: there is anything else in it, such as a signed message.
    """
    found = []
    for tag, whole, _ in packets_of(binary(data, Armor.SIGNATURE)):
        if tag != Tag.SIGNATURE:
            raise Malformed(f"a packet of type {tag} among the signatures: not a detached one")
        found.append(whole)
    return found


def public_keys_in(data: bytes) -> dict[str, bytes]:
    """Return the public keys of a file or keyring, by the fingerprint of the primary key.

    Raises:
        Malformed: there is anything else in it, such as a secret key.
    """
    keys: dict[str, bytes] = {}
    current = None
    for tag, whole, body in packets_of(binary(data, Armor.PUBLIC_KEY)):
        if tag == Tag.PUBLIC_KEY:
            current = _fingerprint_of(body)
            if current in keys:
                raise Malformed(f"key {current} stands twice")
            keys[current] = whole
        elif current is None or tag not in _OF_A_PUBLIC_KEY:
            raise Malformed(f"a packet of type {tag} where public keys should be")
        elif tag != Tag.TRUST:  # somebody's own remarks
            keys[current] += whole
    return keys


def armored_key_fingerprint(text: str) -> str | None:
    """Return the fingerprint of one armored public key; None where it is not exactly one."""
    try:
        keys = public_keys_in(text.encode()) if text.startswith("-----BEGIN ") else {}
    except Malformed:
        return None
    return next(iter(keys)) if len(keys) == 1 else None


def armored(data: bytes, kind: Armor) -> str:
    """Return packets in armor, without header lines and checksum."""
    lines = base64.b64encode(data).decode()
    wrapped = (lines[at : at + 64] for at in range(0, len(lines), 64))
    begin, end = f"-----BEGIN PGP {kind.value}-----", f"-----END PGP {kind.value}-----"
    return "\n".join([begin, "", *wrapped, end, ""])


def _header(data: bytes) -> tuple[int, int, int]:
    """Return the type of a packet, where its body starts, and the body's length."""
    first, rest = data[0], data[1:]
    if not first & 0x80:
        raise Malformed("not an OpenPGP packet")
    if not first & _NEW_FORMAT:
        width = {0: 1, 1: 2, 2: 4}.get(first & 3)
        if width is None:
            raise Malformed("a packet of no stated length")
        return first >> 2 & 15, 1 + width, _number(rest, 0, width)
    tag, one = first & 63, _number(rest, 0, 1)
    if one < 192:
        return tag, 2, one
    if one == 255:
        return tag, 6, _number(rest, 1, 4)
    if one in _PARTIAL:
        raise Malformed("a packet of no stated length")
    return tag, 3, (one - 192 << 8) + _number(rest, 1, 1) + 192


def _number(data: bytes, at: int, width: int) -> int:
    if len(data) < at + width:
        raise Malformed("a packet is cut short")
    return int.from_bytes(data[at : at + width], "big")


def _fingerprint_of(body: bytes) -> str:
    # RFC 9580, 5.5.4; version 5 is that of GnuPG 2.4.
    version, length = body[:1], len(body)
    if version == b"\x04" and length < 1 << 16:
        # Not a choice of ours: OpenPGP defines the fingerprint of version 4 as SHA-1.
        prefix = b"\x99" + length.to_bytes(2, "big")
        return hashlib.sha1(prefix + body, usedforsecurity=False).hexdigest().upper()
    if version in (b"\x05", b"\x06"):
        prefix = {b"\x05": b"\x9a", b"\x06": b"\x9b"}[version] + length.to_bytes(4, "big")
        return hashlib.sha256(prefix + body).hexdigest().upper()
    raise Malformed("a public key of an unknown version")

# SPDX-License-Identifier: Apache-2.0
"""Any file beside a release is refused, or is taken apart into signatures that add up to it."""

from __future__ import annotations

from updater.releases.openpgp import (
    Armor,
    Malformed,
    Tag,
    armored,
    binary,
    public_keys_in,
    signatures_in,
)

LONGEST = 2048


def fuzz(data: bytes) -> bool:
    return any([_are_signatures(data), _are_keys(data)])


def _are_signatures(data: bytes) -> bool:
    try:
        found = signatures_in(data)
    except Malformed:
        return False
    packets = b"".join(found)
    assert packets == binary(data, Armor.SIGNATURE)
    assert all(_type_of(packet) == Tag.SIGNATURE for packet in found)
    assert not found or signatures_in(armored(packets, Armor.SIGNATURE).encode()) == found
    return bool(found)


def _type_of(packet: bytes) -> int:
    """Return the type by RFC 9580, 4.2: new format, or old."""
    return packet[0] & 63 if packet[0] & 0x40 else packet[0] >> 2 & 15


def _are_keys(data: bytes) -> bool:
    try:
        found = public_keys_in(data)
    except Malformed:
        return False
    assert all(len(fingerprint) in (40, 64) for fingerprint in found)
    assert all(public_keys_in(packets) == {name: packets} for name, packets in found.items())
    return bool(found)

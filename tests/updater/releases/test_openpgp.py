# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.updater.releases.signing_keys import SigningKeys, packets
from updater.releases.openpgp import (
    Armor,
    Malformed,
    armored,
    armored_key_fingerprint,
    binary,
    fingerprint,
    packets_of,
    public_keys_in,
    signatures_in,
)


@given(st.binary(max_size=200))
def test_any_bytes_are_packets_or_malformed(data: bytes) -> None:
    try:
        found = list(packets_of(data))
    except Malformed:
        return
    assert b"".join(whole for _, whole, _ in found) == data


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_else(data: bytes) -> None:
    for parse in (signatures_in, public_keys_in):
        for text in (data, b"-----BEGIN PGP SIGNATURE-----\n" + data):
            try:
                parse(text)
            except Malformed:
                continue


@given(st.binary(min_size=1, max_size=500).map(lambda data: b"\x88" + data))
def test_armor_is_undone(data: bytes) -> None:
    assert binary(armored(data, Armor.SIGNATURE).encode(), Armor.SIGNATURE) == data


def test_every_length_of_a_packet_is_understood() -> None:
    """RFC 9580, 4.2.1 and 4.2.2."""
    for length in (0, 1, 191, 192, 8383, 8384, 70_000):
        body = bytes(length)
        new = b"\xc2\xff" + length.to_bytes(4, "big") + body
        old = b"\x8a" + length.to_bytes(4, "big") + body
        assert signatures_in(new + old) == [new, old]
    assert signatures_in(b"\xc2\xc0\x00" + bytes(192)) == [b"\xc2\xc0\x00" + bytes(192)]
    assert signatures_in(b"\x89\x01\x00" + bytes(256)) == [b"\x89\x01\x00" + bytes(256)]
    assert signatures_in(b"\x88\x05" + bytes(5)) == [b"\x88\x05" + bytes(5)]


@pytest.mark.parametrize("tag", [0, 1, 3, 4, 5, 6, 8, 9, 11, 18, 63])
def test_only_signatures_are_among_signatures(tag: int) -> None:
    signature = b"\x88\x01\x00"
    assert signatures_in(signature + signature) == [signature, signature]
    with pytest.raises(Malformed):
        signatures_in(signature + bytes([0xC0 | tag, 1, 0]))


@pytest.mark.parametrize(
    "data", [b"\x8b" + bytes(9), b"\xc2\xe1" + bytes(9), b"\xc2\xff\xff\xff\xff\xff" + bytes(9)]
)
def test_packets_of_no_stated_or_too_great_length_are_refused(data: bytes) -> None:
    with pytest.raises(Malformed):
        signatures_in(data)


def test_fingerprints_are_those_of_gpg(keys: SigningKeys) -> None:
    names = list(keys.fingerprints)
    assert list(public_keys_in(keys.public(*names))) == [keys.fingerprints[name] for name in names]
    for name in names:
        assert armored_key_fingerprint(keys.armored(name)) == keys.fingerprints[name]


def test_a_keyring_comes_apart_and_together(keys: SigningKeys) -> None:
    ring = keys.public("alice", "sub", "bob")
    assert b"".join(public_keys_in(ring).values()) == ring


@pytest.mark.parametrize("kind", ["SECRET", "MESSAGE", "SIGNATURE"])
def test_armor_of_another_kind_is_refused(kind: str) -> None:
    text = armored(b"\x88\x01\x00", Armor.SIGNATURE).replace("SIGNATURE", f"{kind} BLOCK")
    with pytest.raises(Malformed):
        public_keys_in(text.encode())
    with pytest.raises(Malformed):
        signatures_in(text.encode())


def test_text_beside_armor_is_refused(keys: SigningKeys) -> None:
    text = keys.sign(b"data", "alice")
    assert signatures_in(b"\n" + text + b"\n\n")
    for with_text in (b"Comment\n" + text, text + b"Comment\n", text + b"Comment\n" + text):
        with pytest.raises(Malformed):
            signatures_in(with_text)


def test_headers_and_checksums_of_armor_are_passed_over(keys: SigningKeys) -> None:
    text = keys.sign(b"data", "alice").decode()
    begin = "-----BEGIN PGP SIGNATURE-----\n"
    with_header = text.replace(begin, f"{begin}Version: GnuPG v2\nComment: x\n")
    without = "\n".join(line for line in text.splitlines() if not line.startswith("=")) + "\n"
    for variant in (with_header, without, text.replace("\n", "\r\n"), text.rstrip("\n")):
        assert signatures_in(variant.encode()) == [packets(text.encode())]


@pytest.mark.parametrize("text", ["", "AB", "g" * 40, "A" * 39, "A" * 41, "0x" + "A" * 38])
def test_a_short_id_is_no_fingerprint(text: str) -> None:
    with pytest.raises(Malformed):
        fingerprint(text)


def test_fingerprints_have_one_form() -> None:
    assert fingerprint(" 0x" + "ab" * 20) == "AB" * 20
    assert fingerprint("ab" * 32) == "AB" * 32

# SPDX-License-Identifier: Apache-2.0
"""Signatures by a real gpg, and what becomes of bad ones."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.updater.releases.conftest import agents_below
from tests.updater.releases.releases_made import RELEASE
from tests.updater.releases.signing_keys import MADE, NOW, SigningKeys, packets
from updater.errors import (
    KeyExpired,
    KeyRevoked,
    KeyringUnusable,
    ReleaseRefused,
    SignatureExpired,
    SignatureMalformed,
    Tampered,
    TooFewSignatures,
    TooLong,
    Unsigned,
    WeakDigest,
    WrongKey,
)
from updater.releases import verdicts
from updater.releases.openpgp import Armor, armored, packets_of
from updater.releases.signatures import MOST_SIGNATURES, Trust, verify_signatures
from updater.releases.verdicts import read_status

DATA = RELEASE.to_bytes()
YEAR_1970 = datetime(1970, 1, 2, tzinfo=UTC)
DAY = timedelta(days=1)


def refuse(
    kind: type[ReleaseRefused],
    data: bytes,
    signature: bytes,
    trust: Trust,
    now: datetime = NOW,
    match: str | None = None,
) -> None:
    with pytest.raises(kind, match=match) as refused:
        verify_signatures(data, signature, trust, now)
    assert type(refused.value) is kind


def test_a_signature_by_a_pinned_key_is_good(keys: SigningKeys) -> None:
    (signer,) = verify_signatures(DATA, keys.sign(DATA, "alice"), keys.trust("alice"), NOW)
    assert signer.fingerprint == signer.signing_key == keys.fingerprints["alice"]
    assert signer.user_id == "alice <alice@example.org>"
    assert abs(signer.signed - (MADE + DAY)) < timedelta(minutes=5)


def test_armor_is_optional(keys: SigningKeys) -> None:
    bare = packets(keys.sign(DATA, "alice"))
    assert verify_signatures(DATA, bare, keys.trust("alice"), NOW)


def test_a_subkey_signs_for_its_primary_key(keys: SigningKeys) -> None:
    (signer,) = verify_signatures(DATA, keys.sign(DATA, "sub"), keys.trust("sub"), NOW)
    assert signer.fingerprint == keys.fingerprints["sub"]
    assert signer.signing_key != signer.fingerprint


@pytest.mark.parametrize("at", range(0, len(DATA), len(DATA) // 40))
def test_a_changed_byte_is_noticed(at: int, keys: SigningKeys) -> None:
    data = bytearray(DATA)
    data[at] ^= 1
    refuse(Tampered, bytes(data), _alice(keys), keys.trust("alice"))


def test_bytes_more_or_less_are_noticed(keys: SigningKeys) -> None:
    for data in (DATA[:-1], DATA + b"\n", DATA.replace(b"\n", b"\r\n"), b""):
        refuse(Tampered, data, _alice(keys), keys.trust("alice"), match="not one of these bytes")


def test_a_changed_signature_is_refused_or_still_alices(keys: SigningKeys) -> None:
    """Some bytes are hints that nothing protects (unhashed subpackets); they decide nothing."""
    whole, good = packets(_alice(keys)), 0
    for at in range(0, len(whole), 7):
        changed = bytearray(whole)
        changed[at] ^= 0x10
        try:
            (signer,) = verify_signatures(DATA, bytes(changed), keys.trust("alice"), NOW)
        except ReleaseRefused:
            continue
        assert signer.fingerprint == keys.fingerprints["alice"]
        good += 1
    assert good < 3


_kept: dict[int, bytes] = {}


def _alice(keys: SigningKeys) -> bytes:
    return _kept.setdefault(id(keys), keys.sign(DATA, "alice"))


@pytest.mark.parametrize("signature", [b"", b"\n", b" \n\t"])
def test_an_empty_signature_is_none(signature: bytes, keys: SigningKeys) -> None:
    refuse(Unsigned, DATA, signature, keys.trust("alice"))


@pytest.mark.parametrize(
    "signature",
    [b"<html>404</html>", b"\x80", b"\xff" * 100, b"-----BEGIN PGP SIGNATURE-----\n", b"\0" * 9],
)
def test_what_is_no_signature_is_said_to_be_none(signature: bytes, keys: SigningKeys) -> None:
    refuse(SignatureMalformed, DATA, signature, keys.trust("alice"))


def test_a_key_that_is_not_trusted_counts_for_nothing(keys: SigningKeys) -> None:
    signature = keys.sign(DATA, "mallory")
    name = keys.fingerprints["mallory"]
    refuse(WrongKey, DATA, signature, keys.trust("alice"), match=name)


def test_a_key_in_the_keyring_that_is_not_pinned_counts_for_nothing(keys: SigningKeys) -> None:
    trust = Trust.of(keys.public("alice", "mallory"), [keys.fingerprints["alice"]])
    refuse(WrongKey, DATA, keys.sign(DATA, "mallory"), trust)


def test_a_good_signature_is_still_held_against_the_pins(
    keys: SigningKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Should gpg ever see another key than the pinned ones, its word is not enough."""
    trust = keys.trust("alice")
    monkeypatch.setattr(Trust, "keyring", keys.public("alice", "mallory"))
    refuse(WrongKey, DATA, keys.sign(DATA, "mallory"), trust)


def test_a_signed_message_is_no_detached_signature(keys: SigningKeys) -> None:
    """GnuPG says "good" to it, whatever the data: such a message holds its own."""
    for how in ("--sign", "--clear-sign", "--store"):
        message = keys.gpg("--armor", how, "--local-user", keys.fingerprints["alice"], data=DATA)
        refuse(SignatureMalformed, DATA, message, keys.trust("alice"))
        refuse(SignatureMalformed, b"something else", message, keys.trust("alice"))
    bare = keys.gpg("--sign", "--local-user", keys.fingerprints["alice"], data=DATA)
    refuse(SignatureMalformed, DATA, bare, keys.trust("alice"))


def test_a_signature_over_text_is_refused(keys: SigningKeys) -> None:
    signature = keys.sign(DATA, "alice", more="--textmode")
    refuse(SignatureMalformed, DATA, signature, keys.trust("alice"), match="as text")


def test_the_signature_of_a_key_is_none_of_a_release(keys: SigningKeys) -> None:
    of_the_key = b"".join(whole for tag, whole, _ in packets_of(keys.public("alice")) if tag == 2)
    with pytest.raises(ReleaseRefused):
        verify_signatures(DATA, of_the_key, keys.trust("alice"), NOW)


@pytest.mark.parametrize("digest", ["SHA1", "RIPEMD160", "SHA224"])
def test_a_weak_digest_is_refused(digest: str, keys: SigningKeys) -> None:
    signature = keys.sign(DATA, "alice", more=f"--digest-algo {digest}")
    refuse(WeakDigest, DATA, signature, keys.trust("alice"))


def test_md5_is_refused(keys: SigningKeys) -> None:
    more = "--allow-weak-digest-algos --digest-algo MD5"
    signature = keys.sign(DATA, "alice", more=more)
    refuse(WeakDigest, DATA, signature, keys.trust("alice"))


@pytest.mark.parametrize("digest", ["SHA256", "SHA384", "SHA512"])
def test_strong_digests_are_taken(digest: str, keys: SigningKeys) -> None:
    signature = keys.sign(DATA, "alice", more=f"--digest-algo {digest}")
    assert verify_signatures(DATA, signature, keys.trust("alice"), NOW)


def test_an_expired_key_is_refused(keys: SigningKeys) -> None:
    signature = keys.sign(DATA, "old")
    refuse(KeyExpired, DATA, signature, keys.trust("old"), match="has expired")
    assert verify_signatures(DATA, signature, keys.trust("old"), NOW - 20 * DAY)


def test_an_expired_key_cannot_sign_for_a_device_whose_clock_is_slow(keys: SigningKeys) -> None:
    """The thief of an old key signs today. By the device's clock, the key is still valid."""
    expired = NOW - 10 * DAY
    signature = keys.sign_in_spite_of_expiry(DATA, "old", NOW)
    refuse(KeyExpired, DATA, signature, keys.trust("old"), NOW)
    refuse(KeyExpired, DATA, signature, keys.trust("old"), expired - DAY)
    refuse(KeyExpired, DATA, signature, keys.trust("old"), YEAR_1970)


def test_a_revoked_key_is_refused_whenever_it_signed(keys: SigningKeys) -> None:
    signature = keys.sign(DATA, "revoked")
    assert verify_signatures(DATA, signature, keys.trust("revoked"), NOW)
    trust = Trust.of(keys.revoked_public(), [keys.fingerprints["revoked"]])
    refuse(KeyRevoked, DATA, signature, trust)
    refuse(KeyRevoked, DATA, signature, trust, YEAR_1970)


def test_a_signature_for_a_time_expires(keys: SigningKeys) -> None:
    signature = keys.sign(DATA, "alice", more="--default-sig-expire 5d")
    assert verify_signatures(DATA, signature, keys.trust("alice"), MADE + 2 * DAY)
    refuse(SignatureExpired, DATA, signature, keys.trust("alice"), NOW)


@pytest.mark.parametrize("now", [YEAR_1970, MADE - DAY, MADE, datetime(2095, 1, 1, tzinfo=UTC)])
def test_a_wrong_clock_does_not_spoil_a_good_signature(now: datetime, keys: SigningKeys) -> None:
    assert verify_signatures(DATA, _alice(keys), keys.trust("alice"), now)


def test_the_machines_own_clock_does_not_matter(keys: SigningKeys) -> None:
    future = datetime.now(UTC) + 400 * DAY
    signature = keys.sign(DATA, "alice", at=future)
    assert verify_signatures(DATA, signature, keys.trust("alice"), NOW)


def test_two_of_three(keys: SigningKeys) -> None:
    trust = keys.trust("alice", "bob", "carol", threshold=2)
    two = keys.sign(DATA, "carol", "alice")
    assert {signer.user_id[:5] for signer in verify_signatures(DATA, two, trust, NOW)} == {
        "carol",
        "alice",
    }
    three = keys.sign(DATA, "alice", "bob", "carol")
    assert len(verify_signatures(DATA, three, trust, NOW)) == 3


def test_one_key_counts_once(keys: SigningKeys) -> None:
    trust = keys.trust("alice", "bob", "carol", threshold=2)
    once = keys.sign(DATA, "alice")
    again = keys.sign(DATA, "alice", at=MADE + 2 * DAY)
    other_digest = keys.sign(DATA, "alice", more="--digest-algo SHA384")
    refuse(TooFewSignatures, DATA, once + once, trust, match="by 1 of the 2")
    refuse(TooFewSignatures, DATA, once + again + other_digest, trust, match="by 1 of the 2")


def test_a_primary_key_and_its_subkey_count_once(keys: SigningKeys) -> None:
    name = keys.fingerprints["sub"]
    keys.gpg("--quick-add-key", name, "ed25519", "sign", "never", at=MADE + timedelta(hours=1))
    listed = keys.gpg("--with-colons", "--list-keys", name).decode().splitlines()
    subkeys = [line.split(":")[9] for line in listed if line.startswith("fpr:")][1:]
    signature = b"".join(
        keys.gpg("--armor", "--local-user", f"{subkey}!", "--detach-sign", data=DATA)
        for subkey in subkeys
    )
    trust = keys.trust("sub", "bob", threshold=2)
    assert len(set(subkeys)) >= 2
    refuse(TooFewSignatures, DATA, signature, trust, match="by 1 of the 2")


def test_bad_signatures_do_not_spoil_good_ones(keys: SigningKeys) -> None:
    trust = keys.trust("alice", "bob", threshold=1)
    bad = keys.sign(b"other bytes", "bob") + keys.sign(DATA, "mallory")
    good = keys.sign(DATA, "alice")
    for signature in (bad + good, good + bad):
        assert len(verify_signatures(DATA, signature, trust, NOW)) == 1


def test_too_few_says_what_was_wrong_with_the_others(keys: SigningKeys) -> None:
    trust = Trust.of(
        keys.public("alice") + keys.revoked_public(),
        [keys.fingerprints["alice"], keys.fingerprints["revoked"]],
        2,
    )
    signature = keys.sign(DATA, "alice", "revoked", "mallory")
    match = "by 1 of the 2 .*is revoked.*not trusted here"
    refuse(TooFewSignatures, DATA, signature, trust, match=match)


def test_what_a_trusted_key_did_wrong_is_told_before_strangers(keys: SigningKeys) -> None:
    signature = keys.sign(DATA, "mallory") + keys.sign(b"other bytes", "alice")
    refuse(Tampered, DATA, signature, keys.trust("alice"))


def test_only_strangers_are_wrong_keys_whatever_the_threshold(keys: SigningKeys) -> None:
    trust = keys.trust("alice", "bob", threshold=2)
    refuse(WrongKey, DATA, keys.sign(DATA, "mallory"), trust)


def test_signatures_in_one_armor_and_in_several_are_the_same(keys: SigningKeys) -> None:
    trust = keys.trust("alice", "bob", threshold=2)
    joined = packets(keys.sign(DATA, "alice", "bob"))
    one_block = armored(joined, Armor.SIGNATURE).encode()
    for signature in (joined, one_block, keys.sign(DATA, "alice", "bob")):
        assert len(verify_signatures(DATA, signature, trust, NOW)) == 2


def test_there_is_a_limit_to_signatures_and_their_bytes(keys: SigningKeys) -> None:
    one = packets(_alice(keys))
    many = b"".join(one[:-1] + bytes([number]) for number in range(MOST_SIGNATURES + 1))
    refuse(TooLong, DATA, many, keys.trust("alice"), match="17 signatures")
    refuse(TooLong, DATA, b"\x88" * (64 << 10) + b"\x88", keys.trust("alice"), match="65536 bytes")


def test_a_trust_that_cannot_be_met_is_refused(keys: SigningKeys) -> None:
    alice = keys.fingerprints["alice"]
    ring = keys.public("alice")
    listed = keys.gpg("--with-colons", "--list-keys", keys.fingerprints["sub"]).decode()
    subkey = [line.split(":")[9] for line in listed.splitlines() if line.startswith("fpr:")][1]
    secret = keys.gpg("--export-secret-keys", alice)
    for keyring, pins, threshold in (
        (b"", [], 1),
        (ring, [keys.fingerprints["bob"]], 1),
        (ring, [alice[-16:]], 1),
        (ring, [alice], 2),
        (ring, [alice], 0),
        (ring, [alice, alice.lower()], 2),
        (keys.public("sub"), [subkey], 1),
        (secret, [alice], 1),
        (b"KBXf", [alice], 1),
        (b"\x99\x01", [alice], 1),
    ):
        with pytest.raises(KeyringUnusable) as refused:
            Trust.of(keyring, pins, threshold)
        assert refused.value.code == "trust.keyring-unusable"


def test_fingerprints_may_be_written_as_people_do(keys: SigningKeys) -> None:
    alice = keys.fingerprints["alice"]
    spaced = " ".join(alice[at : at + 4] for at in range(0, 40, 4)).lower()
    assert Trust.of(keys.public("alice", "bob"), [spaced]).fingerprints == (alice,)
    assert set(Trust.of(keys.public("alice", "bob"), []).fingerprints) == {
        alice,
        keys.fingerprints["bob"],
    }


def test_an_armored_keyring_is_read_and_stored_as_packets(
    keys: SigningKeys, tmp_path: Path
) -> None:
    path = tmp_path / "trusted.asc"
    path.write_text(keys.armored("alice") + keys.armored("bob"))
    trust = Trust.load(path, [keys.fingerprints["bob"]])
    assert verify_signatures(DATA, keys.sign(DATA, "bob"), trust, NOW)
    again = Trust.of(trust.keyring, trust.fingerprints)
    assert set(again.keys) == {keys.fingerprints["bob"]}


def test_the_users_own_home_is_neither_read_nor_made(
    keys: SigningKeys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A configuration there that would spoil everything spoils nothing."""
    home = tmp_path / "home"
    own = home / ".gnupg"
    own.mkdir(parents=True)
    (own / "gpg.conf").write_text("no-such-option\nkeyring /nowhere\n")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("GNUPGHOME", raising=False)
    assert verify_signatures(DATA, _alice(keys), keys.trust("alice"), NOW)
    monkeypatch.setenv("GNUPGHOME", str(own))
    assert verify_signatures(DATA, _alice(keys), keys.trust("alice"), NOW)
    assert [path.name for path in own.iterdir()] == ["gpg.conf"]


def test_without_gpg_the_keyring_is_of_no_use(
    keys: SigningKeys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    signature, trust = _alice(keys), keys.trust("alice")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(KeyringUnusable, match="there is no gpg"):
        verify_signatures(DATA, signature, trust, NOW)


@pytest.fixture
def other_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    program = tmp_path / "gpg"
    monkeypatch.setattr(verdicts, "PROGRAM", str(program))
    yield program


def test_a_gpg_that_hangs_is_ended(
    keys: SigningKeys, other_program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other_program.write_text("#!/bin/sh\nexec sleep 100\n")
    other_program.chmod(0o755)
    monkeypatch.setattr(verdicts, "TIMEOUT_S", 0.3)
    before = time.monotonic()
    with pytest.raises(KeyringUnusable, match="does not work"):
        verify_signatures(DATA, _alice(keys), keys.trust("alice"), NOW)
    assert time.monotonic() - before < 50


def test_a_gpg_that_says_nothing_proves_nothing(keys: SigningKeys, other_program: Path) -> None:
    other_program.write_text("#!/bin/sh\ncat >/dev/null\nexit 0\n")
    other_program.chmod(0o755)
    refuse(SignatureMalformed, DATA, _alice(keys), keys.trust("alice"))


def test_verifying_starts_no_agent(keys: SigningKeys, nothing_is_left: Path) -> None:
    verify_signatures(DATA, _alice(keys), keys.trust("alice"), NOW)
    assert agents_below(nothing_is_left) == []
    assert os.listdir(nothing_is_left) == []


FPR = "A" * 40
GOOD = (
    "[GNUPG:] NEWSIG\n"
    f"[GNUPG:] GOODSIG {FPR[:16]} Alice\n"
    f"[GNUPG:] VALIDSIG {FPR} 2026-10-22 1792627200 0 4 0 22 10 00 {FPR}\n"
)


def test_one_good_signature_is_understood() -> None:
    verdict = read_status(GOOD, 0)
    assert verdict.refusal is None
    assert verdict.primary == FPR


@pytest.mark.parametrize(
    ("output", "status", "kind"),
    [
        ("", 0, SignatureMalformed),
        (GOOD, 2, SignatureMalformed),
        (GOOD + GOOD, 0, SignatureMalformed),
        (GOOD.replace("NEWSIG", "OLDSIG"), 0, SignatureMalformed),
        (GOOD.replace("[GNUPG:] VALIDSIG", "gpg: VALIDSIG"), 0, SignatureMalformed),
        (GOOD.replace("[GNUPG:] GOODSIG", "x[GNUPG:] GOODSIG"), 0, SignatureMalformed),
        (GOOD + f"[GNUPG:] BADSIG {FPR[:16]} Alice\n", 0, SignatureMalformed),
        (GOOD.replace("GOODSIG", "EXPKEYSIG"), 0, KeyExpired),
        (GOOD.replace("GOODSIG", "REVKEYSIG"), 0, KeyRevoked),
        (GOOD.replace("GOODSIG", "EXPSIG"), 0, SignatureExpired),
        (GOOD.replace("GOODSIG", "BADSIG"), 0, Tampered),
        (GOOD.replace(" 10 00 ", " 2 00 "), 0, WeakDigest),
        (GOOD.replace(" 10 00 ", " 10 01 "), 0, SignatureMalformed),
        (GOOD.replace(" 10 00 ", " 10 10 "), 0, SignatureMalformed),
        (GOOD.replace(f" 00 {FPR}", " 00"), 0, SignatureMalformed),
        ("[GNUPG:] NEWSIG\n[GNUPG:] ERRSIG AB 22 8 00 1 9 -\n", 2, WrongKey),
        ("[GNUPG:] NEWSIG\n[GNUPG:] ERRSIG AB 22 2 00 1 5 -\n", 2, WeakDigest),
        ("[GNUPG:] NEWSIG\n[GNUPG:] ERRSIG AB 22 8 00 1 4 -\n", 2, SignatureMalformed),
        ("[GNUPG:] NEWSIG\n[GNUPG:] ERRSIG AB\n", 2, SignatureMalformed),
    ],
)
def test_anything_else_is_refused(output: str, status: int, kind: type[ReleaseRefused]) -> None:
    verdict = read_status(output, status)
    assert type(verdict.refusal) is kind


def test_every_refusal_has_its_own_code() -> None:
    def all_of(kind: type[ReleaseRefused]) -> list[type[ReleaseRefused]]:
        return [kind, *(low for sub in kind.__subclasses__() for low in all_of(sub))]

    codes = [kind.code for kind in all_of(ReleaseRefused)]
    assert len(set(codes)) == len(codes)

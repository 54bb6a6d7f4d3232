# SPDX-License-Identifier: Apache-2.0
"""Old keys vouch for new ones, and the new ones for themselves."""

from __future__ import annotations

from dataclasses import replace

import pytest

from images.locator import LocalPath
from tests.updater.releases.releases_made import release, trust_change
from tests.updater.releases.signing_keys import NOW, SigningKeys
from updater.errors import ReleaseRefused, RotationRefused, TooFewSignatures, WrongKey
from updater.releases.document import Release, TrustChange
from updater.releases.proof import ProvedRelease, SignedRelease, prove
from updater.releases.rotation import next_trust, proposed_trust
from updater.releases.signatures import Trust

PLACE = LocalPath("/channel/v42/release.json")


def signed(keys: SigningKeys, made: Release, *names: str) -> SignedRelease:
    raw = made.to_bytes()
    return SignedRelease(PLACE, raw, keys.sign(raw, *names))


def rotate(keys: SigningKeys, trust: Trust, change: TrustChange, *names: str) -> ProvedRelease:
    return prove(signed(keys, release(trust=change), *names), trust, NOW)


def test_old_and_new_keys_together_change_the_trust(keys: SigningKeys) -> None:
    old = keys.trust("alice")
    change = trust_change(keys, "bob", "carol", version=1, threshold=2)
    proved = rotate(keys, old, change, "alice", "bob", "carol")
    new = next_trust(old, proved.next_trust)
    assert new.version == 1
    assert new.threshold == 2
    assert new.fingerprints == change.fingerprints
    # What was stored is what verifies the next release, and the old key is out.
    stored = Trust.of(new.keyring, new.fingerprints, new.threshold, new.version)
    following = release(sequence=43)
    prove(signed(keys, following, "bob", "carol"), stored, NOW)
    with pytest.raises(WrongKey):
        prove(signed(keys, following, "alice"), stored, NOW)
    with pytest.raises(TooFewSignatures):
        prove(signed(keys, following, "alice", "bob"), stored, NOW)


def test_new_keys_alone_change_nothing(keys: SigningKeys) -> None:
    change = trust_change(keys, "mallory", version=1)
    with pytest.raises(WrongKey):
        rotate(keys, keys.trust("alice"), change, "mallory")


def test_old_keys_alone_change_nothing(keys: SigningKeys) -> None:
    change = trust_change(keys, "bob", version=1)
    with pytest.raises(RotationRefused) as refused:
        rotate(keys, keys.trust("alice"), change, "alice")
    assert refused.value.code == "release.rotation-refused"
    assert isinstance(refused.value.__cause__, WrongKey)


def test_the_new_threshold_is_held(keys: SigningKeys) -> None:
    change = trust_change(keys, "bob", "carol", version=1, threshold=2)
    with pytest.raises(RotationRefused, match="1 of the 2"):
        rotate(keys, keys.trust("alice"), change, "alice", "bob")


def test_the_old_threshold_is_held(keys: SigningKeys) -> None:
    trust = keys.trust("alice", "bob", threshold=2)
    change = trust_change(keys, "carol", version=1)
    with pytest.raises(TooFewSignatures):
        rotate(keys, trust, change, "alice", "carol")


def test_a_key_of_both_counts_for_both(keys: SigningKeys) -> None:
    trust = keys.trust("alice", "bob")
    change = trust_change(keys, "bob", "carol", version=1)
    assert rotate(keys, trust, change, "bob").next_trust is not None


@pytest.mark.parametrize("version", [1, 2])
def test_versions_only_rise(version: int, keys: SigningKeys) -> None:
    trust = keys.trust("alice", version=2)
    change = trust_change(keys, "bob", version=version)
    proved = rotate(keys, trust, change, "alice")
    assert proved.next_trust is None
    assert next_trust(trust, proved.next_trust) is trust


def test_an_old_proof_does_not_undo_a_later_rotation(keys: SigningKeys) -> None:
    first, second = keys.trust("bob", version=1), keys.trust("carol", version=2)
    assert next_trust(second, first) is second
    assert next_trust(second, replace(second, threshold=1)) is second
    assert next_trust(first, second) is second
    assert next_trust(first, None) is first


def test_a_release_goes_on_after_a_rotation_it_repeats(keys: SigningKeys) -> None:
    """The same file for devices before and after: both groups of keys sign, the block stays."""
    change = trust_change(keys, "bob", version=1)
    both = signed(keys, release(trust=change), "alice", "bob")
    before = prove(both, keys.trust("alice"), NOW)
    after = prove(both, keys.trust("bob", version=1), NOW)
    assert before.next_trust is not None
    assert after.next_trust is None
    assert [signer.user_id[:3] for signer in after.signers] == ["bob"]


def test_a_revoked_new_key_cannot_vouch(keys: SigningKeys) -> None:
    from updater.releases.openpgp import Armor, armored

    name = keys.fingerprints["revoked"]
    key = armored(keys.revoked_public(), Armor.PUBLIC_KEY)
    with pytest.raises(RotationRefused, match="revoked"):
        change = TrustChange(1, (name,), 1, (key,))
        rotate(keys, keys.trust("alice"), change, "alice", "revoked")


def test_nothing_is_proposed_without_a_rotation(keys: SigningKeys) -> None:
    assert proposed_trust(keys.trust("alice"), release()) is None


def test_bytes_are_verified_before_they_are_parsed(
    keys: SigningKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    def parse(*_: object) -> Release:
        raise AssertionError("parsed")

    asked = signed(keys, release(), "mallory")
    monkeypatch.setattr(Release, "parse", parse)
    for one in (asked, SignedRelease(PLACE, b"{" * 9, asked.signature)):
        with pytest.raises(ReleaseRefused):
            prove(one, keys.trust("alice"), NOW)

# SPDX-License-Identifier: Apache-2.0
"""Key pairs and trusted keyrings, by the verbs that make them."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.capabilities import require_tool
from tests.updater.releases.conftest import agents_below
from tests.updater.releases.signing_keys import SigningKeys
from tests.updater.running import Caflip
from updater.errors import KeyringUnusable, SigningFailed
from updater.releases import gnupg_home
from updater.releases.gnupg_home import open_home
from updater.releases.keys import export_keyring, import_keys, list_keyring
from updater.releases.openpgp import public_keys_in
from updater.releases.signatures import Trust, verify_signatures
from updater.releases.signing import SigningKey


@pytest.fixture
def home(nothing_is_left: Path) -> Path:
    """A place for a GnuPG home, short enough for a socket; it goes with the test."""
    require_tool("gpg", "gpgconf", "gpg-connect-agent")
    return nothing_is_left / "h"


@pytest.fixture(autouse=True)
def home_goes(home: Path) -> object:
    yield
    if home.exists():
        assert agents_below(home.parent) == []
        subprocess.run(["rm", "-r", str(home)], check=True)


def test_a_key_is_made_and_signs(home: Path, caflip: Caflip) -> None:
    made = caflip("keys", "make", "Releases <r@example.org>", f"--gnupg-home={home}")
    assert made.status == 0, made.err
    fingerprint = made.text.strip()
    assert home.stat().st_mode & 0o777 == 0o700
    signature = SigningKey(home, fingerprint).sign(b"data")
    exported = home.parent / "h" / "trusted.gpg"
    assert caflip("keys", "export", exported, f"--gnupg-home={home}").status == 0
    trust = Trust.load(exported, [fingerprint])
    (signer,) = verify_signatures(b"data", signature, trust, datetime.now(UTC))
    assert signer.user_id == "Releases <r@example.org>"
    assert agents_below(home.parent) == []


def test_a_key_is_of_ed25519_and_has_its_date(home: Path, caflip: Caflip) -> None:
    caflip("keys", "make", "Only A Name", "--gnupg-home", home, "--expires=90d")
    command = ["gpg", "--homedir", str(home), "--with-colons", "--list-keys"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    pub = next(line for line in listed.splitlines() if line.startswith("pub:")).split(":")
    uid = next(line for line in listed.splitlines() if line.startswith("uid:")).split(":")
    assert pub[16] == "ed25519"
    assert set(pub[11].lower()) <= set("sc")
    assert int(pub[6]) - int(pub[5]) == pytest.approx(90 * 86400, abs=2)
    assert uid[9] == "Only A Name"


def test_a_key_may_last_for_ever(home: Path, caflip: Caflip) -> None:
    caflip("keys", "make", "Releases", "--gnupg-home", home, "--expires=never")
    (key,) = caflip("keys", "list", "--gnupg-home", home, "--json").last["keys"]
    assert key["expires"] is None
    assert key["state"] == "valid"


def test_a_passphrase_from_a_file_protects_the_key(
    home: Path, tmp_path: Path, caflip: Caflip
) -> None:
    right, wrong = tmp_path / "right", tmp_path / "wrong"
    right.write_text("correct horse\n")
    wrong.write_text("battery staple\n")
    option = f"--passphrase-file={right}"
    made = caflip("keys", "make", "Releases", "--gnupg-home", home, option)
    key = made.text.strip()
    with pytest.raises(SigningFailed):
        SigningKey(home, key, "battery staple").sign(b"data")
    assert SigningKey(home, key, "correct horse").sign(b"data")
    assert "correct horse" not in made.err


@pytest.mark.parametrize("text", ["", "two\nlines\n", "x" * 2000, "\0"])
def test_a_file_without_a_passphrase_is_refused(
    text: str, home: Path, tmp_path: Path, caflip: Caflip
) -> None:
    path = tmp_path / "passphrase"
    path.write_text(text)
    done = caflip("keys", "make", "R", "--gnupg-home", home, "--passphrase-file", path)
    assert done.status == 78
    assert not home.exists()


@pytest.mark.parametrize("user", ["", "  ", "<only@address>", "two\nKey-Type: RSA", "a\x1bb"])
def test_a_user_id_that_is_none_is_refused(user: str, home: Path, caflip: Caflip) -> None:
    done = caflip("keys", "make", user, "--gnupg-home", home, "--json")
    assert done.last["code"] == "trust.signing-failed"


def test_an_agent_that_was_there_before_stays(home: Path, caflip: Caflip) -> None:
    home.mkdir(mode=0o700)
    start = ["gpg-connect-agent", "--homedir", str(home), "/bye"]
    subprocess.run(start, check=True, capture_output=True)
    try:
        assert caflip("keys", "make", "Releases", "--gnupg-home", home).status == 0
        assert agents_below(home.parent) != []
    finally:
        with open_home(home):
            gnupg_home._end_agent(home)


def test_public_keys_are_imported_into_a_keyring(
    keys: SigningKeys, tmp_path: Path, caflip: Caflip
) -> None:
    ring, alice, bob = tmp_path / "trusted.gpg", tmp_path / "alice.asc", tmp_path / "bob.gpg"
    alice.write_text(keys.armored("alice"))
    bob.write_bytes(keys.public("bob"))
    assert caflip("keys", "import", ring, alice).status == 0
    done = caflip("keys", "import", ring, bob, alice)
    assert done.status == 0, done.err
    names = {keys.fingerprints["alice"], keys.fingerprints["bob"]}
    assert set(public_keys_in(ring.read_bytes())) == names
    assert all(name in done.text for name in names)
    assert ring.stat().st_mode & 0o777 == 0o644


def test_a_keyring_is_the_same_bytes_whatever_the_order(keys: SigningKeys, tmp_path: Path) -> None:
    one, two = tmp_path / "1.gpg", tmp_path / "2.gpg"
    import_keys(one, [keys.public("alice"), keys.public("sub")])
    import_keys(two, [keys.public("sub", "alice")])
    assert one.read_bytes() == two.read_bytes()


def test_a_keyring_is_what_gpgv_reads(keys: SigningKeys, tmp_path: Path) -> None:
    require_tool("gpgv")
    ring, data, signature = tmp_path / "t.gpg", tmp_path / "data", tmp_path / "data.asc"
    import_keys(ring, [keys.public("alice", "bob")])
    data.write_bytes(b"data")
    signature.write_bytes(keys.sign(b"data", "alice"))
    command = ["gpgv", "--keyring", str(ring), str(signature), str(data)]
    subprocess.run(command, check=True, capture_output=True)


def test_a_revocation_is_imported(keys: SigningKeys, tmp_path: Path) -> None:
    ring = tmp_path / "trusted.gpg"
    import_keys(ring, [keys.public("revoked", "alice")])
    states = {
        key.user_id[:5]: key.state(datetime.now(UTC)) for key in list_keyring(ring.read_bytes())
    }
    assert states == {"revok": "valid", "alice": "valid"}
    import_keys(ring, [keys.revocation])
    states = {
        key.user_id[:5]: key.state(datetime.now(UTC)) for key in list_keyring(ring.read_bytes())
    }
    assert states == {"revok": "revoked", "alice": "valid"}


def test_an_expired_key_is_listed_as_such(
    keys: SigningKeys, tmp_path: Path, caflip: Caflip
) -> None:
    ring = tmp_path / "trusted.gpg"
    ring.write_bytes(keys.public("old"))
    (listed,) = list_keyring(ring.read_bytes())
    assert listed.expires is not None
    assert listed.state(listed.expires) == "expired"
    assert listed.state(listed.expires - timedelta(seconds=1)) == "valid"


def test_secret_keys_are_refused(keys: SigningKeys, tmp_path: Path, caflip: Caflip) -> None:
    secret = tmp_path / "secret.asc"
    name = keys.fingerprints["alice"]
    for armor in ((), ("--armor",)):
        secret.write_bytes(keys.gpg(*armor, "--export-secret-keys", name))
        done = caflip("keys", "import", tmp_path / "trusted.gpg", secret, "--json")
        assert done.last["code"] == "trust.keyring-unusable"
        assert "type 5" in done.last["message"] or "PRIVATE KEY" in done.last["message"]
        assert not (tmp_path / "trusted.gpg").exists()


@pytest.mark.parametrize("data", [b"", b"hello", b"\x99\x00\x01\x04", b"\x80"])
def test_what_holds_no_keys_is_refused(data: bytes, tmp_path: Path) -> None:
    with pytest.raises(KeyringUnusable):
        import_keys(tmp_path / "trusted.gpg", [data])


def test_only_the_named_keys_are_exported(
    keys: SigningKeys, tmp_path: Path, caflip: Caflip
) -> None:
    ring, out = tmp_path / "all.gpg", tmp_path / "some.gpg"
    ring.write_bytes(keys.public("alice", "bob"))
    name = keys.fingerprints["bob"]
    done = caflip("keys", "export", out, "--keyring", ring, "--fingerprint", name.lower())
    assert done.text.strip() == name
    assert set(public_keys_in(out.read_bytes())) == {name}
    with pytest.raises(KeyringUnusable):
        export_keyring(ring.read_bytes(), [keys.fingerprints["carol"]])


def test_what_is_exported_has_no_signatures_of_others(keys: SigningKeys) -> None:
    alice, bob = keys.fingerprints["alice"], keys.fingerprints["bob"]
    keys.gpg("--default-key", bob, "--quick-sign-key", alice)
    larger = keys.public("alice")
    assert len(export_keyring(larger, [alice])) < len(larger)


@pytest.mark.parametrize(
    "line",
    [
        "keys",
        "keys frobnicate",
        "keys make",
        "keys make R --expires=soon",
        "keys make R --ask-passphrase --passphrase-file=/dev/null",
        "keys list x --gnupg-home=y",
        "keys import x",
        "keys export",
        "keys export x --keyring=y --gnupg-home=z",
        "keys export x --fingerprint=ABCD",
    ],
)
def test_a_line_that_makes_no_sense_is_refused(line: str, caflip: Caflip) -> None:
    assert caflip(*line.split()).status in (64, 78)

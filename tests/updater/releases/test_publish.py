# SPDX-License-Identifier: Apache-2.0
"""Publish, serve, verify: by the verbs, over HTTP."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from images.making import make
from images.serve import serve
from tests.capabilities import require_tool
from tests.updater.running import Caflip, Run, content
from updater.releases.channel import parse_pointer
from updater.releases.document import Release
from updater.releases.gnupg_home import _end_agent


@dataclass(frozen=True)
class Publisher:
    """A GnuPG home with two keys, a trusted keyring, a channel and an image."""

    home: Path
    keyring: Path
    names: tuple[str, str]
    channel: Path
    image: Path
    caflip: Caflip

    def make(self, *more: str | Path, version: str = "1.0", sign: int = 1) -> Run:
        options = ["--compatible=acme", f"--version={version}", f"--gnupg-home={self.home}"]
        options += [f"--sign-with={name}" for name in self.names[:sign]]
        return self.caflip("release", "make", self.channel, *more, *options)

    def latest(self) -> str:
        return parse_pointer((self.channel / "latest.json").read_bytes(), "latest.json")

    def release(self, name: str = "v1") -> Release:
        return Release.parse((self.channel / name / "release.json").read_bytes())

    def verify(self, *more: str | Path, where: str | Path | None = None) -> Run:
        location = self.channel if where is None else where
        return self.caflip("release", "verify", location, f"--keyring={self.keyring}", *more)


@pytest.fixture(scope="session")
def signing_home(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Path, tuple[str, str]]]:
    """Two keys of a publisher, valid now: what the verbs make is signed at the machine's time."""
    require_tool("gpg", "gpgconf", "gpg-connect-agent")
    home = Path("/tmp") / f"cf-home-{os.getpid()}"
    home.mkdir(mode=0o700)
    names = []
    for user in ("Alice", "Bob"):
        command = ["gpg", "--homedir", str(home), "--batch", "--quiet", "--passphrase", ""]
        subprocess.run(
            [*command, "--quick-generate-key", user, "ed25519", "sign", "1y"],
            check=True,
            capture_output=True,
        )
    command = ["gpg", "--homedir", str(home), "--with-colons", "--list-keys"]
    listed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    names = [line.split(":")[9] for line in listed.splitlines() if line.startswith("fpr:")]
    yield home, (names[0], names[1])
    _end_agent(home)
    shutil.rmtree(home)


@pytest.fixture
def publisher(
    signing_home: tuple[Path, tuple[str, str]], tmp_path: Path, caflip: Caflip
) -> Publisher:
    home, names = signing_home
    keyring = tmp_path / "trusted.gpg"
    assert caflip("keys", "export", keyring, f"--gnupg-home={home}").status == 0
    image = tmp_path / "rootfs.img"
    image.write_bytes(content(600_000) + bytes(300_000))
    return Publisher(home, keyring, names, tmp_path / "stable", image, caflip)


def test_a_release_is_made_served_and_verified(publisher: Publisher) -> None:
    made = publisher.make(publisher.image, "--json")
    assert made.status == 0, made.err
    assert made.last["sequence"] == 1
    assert made.last["signatures"] == 1
    assert made.last["latest"] is True
    with serve(publisher.channel.parent) as server:
        done = publisher.verify("--json", where=f"{server.url}/stable")
        assert done.status == 0, done.err
        assert done.last["release"]["version"] == "1.0"
        assert done.last["signers"][0]["fingerprint"] == publisher.names[0]
        assert done.last["chunks"]["rootfs"] > 1
        # And its chunks can be had where it says.
        url = f"{server.url}/stable/v1"
        index = publisher.release().images["rootfs"].index
        out = publisher.channel.parent / "out.img"
        store = f"--store={url}/../default.castr".replace("/v1/..", "")
        got = publisher.caflip("extract", store, f"{url}/{index}", out)
        assert got.status == 0, got.err
        assert out.read_bytes() == publisher.image.read_bytes()


def test_the_release_says_what_the_image_is(publisher: Publisher) -> None:
    require_tool("mkfs.ext4")
    with publisher.image.open("wb") as file:
        file.truncate(8 << 20)
    uuid = "2f1d3c4b-0000-4000-8000-000000000001"
    environment = os.environ | {"PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}
    mkfs = ["mkfs.ext4", "-q", "-U", uuid, str(publisher.image)]
    subprocess.run(mkfs, check=True, env=environment)
    assert publisher.make(publisher.image).status == 0
    image = publisher.release().images["rootfs"]
    data = publisher.image.read_bytes()
    index = (publisher.channel / "v1" / image.index).read_bytes()
    assert image.image_length == len(data)
    assert image.image_sha256 == hashlib.sha256(data).digest()
    assert image.index_length == len(index)
    assert image.index_sha256 == hashlib.sha256(index).digest()
    assert image.index == f"rootfs-{image.index_sha256.hex()[:12]}.caibx"
    assert image.file_system is not None
    assert (image.file_system.kind, image.file_system.length, image.file_system.uuid) == (
        "ext4",
        8 << 20,
        uuid,
    )


def test_several_images_and_facts(publisher: Publisher, tmp_path: Path) -> None:
    other = tmp_path / "app.img"
    other.write_bytes(content(100_000, seed=3))
    more = ["--variant=emmc", "--variant=nand", "--rollout=100", "--notes=First\nsecond"]
    made = publisher.make(f"--image=appfs={other}", publisher.image, *more, "--sequence=20261120")
    assert made.status == 0, made.err
    release = publisher.release("v20261120")
    assert set(release.images) == {"appfs", "rootfs"}
    assert release.variants == ("emmc", "nand")
    assert release.rollout == 100
    assert release.stores == ("../default.castr",)
    shown = publisher.caflip("release", "show", publisher.channel)
    assert "not verified" in shown.text
    assert "100 per mille" in shown.text
    assert "second" in shown.text


def test_with_sha256_the_image_is_read_once(publisher: Publisher) -> None:
    assert publisher.make(publisher.image, "--digest=sha256").status == 0
    digest = hashlib.sha256(publisher.image.read_bytes()).digest()
    assert publisher.release().images["rootfs"].image_sha256 == digest
    assert publisher.verify().status == 0


def test_sequences_count_up_and_old_releases_stay(publisher: Publisher) -> None:
    publisher.make(publisher.image)
    before = (publisher.channel / "v1" / "release.json").read_bytes()
    publisher.make(publisher.image, version="2.0")
    assert publisher.latest() == "v2/release.json"
    assert (publisher.channel / "v1" / "release.json").read_bytes() == before


def test_a_release_is_never_overwritten(publisher: Publisher) -> None:
    publisher.make(publisher.image)
    before = tree(publisher.channel)
    for more in ((), ("--force",)):
        done = publisher.make(publisher.image, "--sequence=1", "--json", *more, version="other")
        assert done.last["code"] == "channel.refused"
        assert tree(publisher.channel) == before


def test_a_lower_sequence_is_refused_unless_forced(publisher: Publisher) -> None:
    publisher.make(publisher.image, "--sequence=5")
    done = publisher.make(publisher.image, "--sequence=4", "--json")
    assert done.status == 78
    assert done.last["code"] == "channel.refused"
    assert publisher.latest() == "v5/release.json"
    assert publisher.make(publisher.image, "--sequence=4", "--force").status == 0


def test_what_is_held_counts_and_is_not_named(publisher: Publisher) -> None:
    publisher.make(publisher.image)
    assert publisher.make(publisher.image, "--hold").status == 0
    assert publisher.latest() == "v1/release.json"
    publisher.make(publisher.image)
    assert publisher.latest() == "v3/release.json"


def test_what_nobody_signed_is_not_named(publisher: Publisher) -> None:
    done = publisher.make(publisher.image, sign=0)
    assert done.status == 0
    assert "not signed" in done.err
    assert not (publisher.channel / "latest.json").exists()
    assert publisher.verify("--json", where=publisher.channel / "v1/release.json").last["code"] == (
        "release.unsigned"
    )


def test_a_threshold_is_met_by_several_people(publisher: Publisher) -> None:
    publisher.make(publisher.image, "--hold")
    path = publisher.channel / "v1" / "release.json"
    asked = publisher.verify("--threshold=2", "--json", where=path)
    assert asked.status == 65
    assert asked.last["code"] == "release.too-few-signatures"
    sign = ["release", "make", f"--add-signature={path}", f"--gnupg-home={publisher.home}"]
    added = publisher.caflip(*sign, f"--sign-with={publisher.names[1]}", "--json")
    assert added.status == 0, added.err
    assert added.last["signatures"] == 2
    assert publisher.latest() == "v1/release.json"
    assert publisher.verify("--threshold=2").status == 0


def test_two_keys_sign_in_one_run(publisher: Publisher) -> None:
    assert publisher.make(publisher.image, "--json", sign=2).last["signatures"] == 2
    assert publisher.verify("--threshold=2").status == 0


def test_an_older_release_is_signed_and_not_named(publisher: Publisher) -> None:
    publisher.make(publisher.image)
    publisher.make(publisher.image)
    sign = f"--sign-with={publisher.names[1]}"
    path = publisher.channel / "v1" / "release.json"
    more = ("--gnupg-home", publisher.home, "--json")
    done = publisher.caflip("release", "make", "--add-signature", path, sign, *more)
    assert done.last["latest"] is False
    assert publisher.latest() == "v2/release.json"


def test_the_same_images_again_for_more_devices(publisher: Publisher) -> None:
    publisher.make(publisher.image, "--rollout=10")
    first = publisher.channel / "v1" / "release.json"
    options = [f"--gnupg-home={publisher.home}", f"--sign-with={publisher.names[0]}"]
    done = publisher.caflip(
        *("release", "make", publisher.channel, f"--again={first}", "--expires=2y", *options)
    )
    assert done.status == 0, done.err
    assert publisher.latest() == "v1.2/release.json"
    one, two = publisher.release("v1"), publisher.release("v1.2")
    assert two.sequence == one.sequence
    assert two.images == one.images
    assert two.stores == one.stores
    assert (one.rollout, two.rollout) == (10, None)
    assert two.expires > one.expires
    assert publisher.verify().status == 0
    # Once there is a newer one, that would be a way back.
    publisher.make(publisher.image)
    again = publisher.caflip("release", "make", publisher.channel, f"--again={first}", *options)
    assert again.status == 78


def test_keys_are_rotated_by_a_release(publisher: Publisher, tmp_path: Path) -> None:
    new = tmp_path / "new.gpg"
    alice, bob = publisher.names
    ring = f"--keyring={publisher.keyring}"
    publisher.caflip("keys", "export", new, ring, f"--fingerprint={bob}")
    rotate = [f"--trust-keyring={new}", "--trust-version=1"]
    assert publisher.make(publisher.image, *rotate, sign=1).status == 0
    only_alice = ("--fingerprint", alice, "--json")
    assert publisher.verify(*only_alice).last["code"] == "release.rotation-refused"
    assert publisher.make(publisher.image, *rotate, sign=2).status == 0
    done = publisher.verify(*only_alice)
    assert done.status == 0
    assert done.last["rotates_to"] == 1


def test_a_store_elsewhere_has_to_be_named(publisher: Publisher, tmp_path: Path) -> None:
    outside = tmp_path / "elsewhere" / "castr"
    done = publisher.make(publisher.image, f"--store={outside}", "--json")
    assert done.last["code"] == "channel.refused"
    url = "--store-url=https://cdn.example.org/castr"
    assert publisher.make(publisher.image, f"--store={outside}", url).status == 0
    assert publisher.release().stores == ("https://cdn.example.org/castr",)
    assert outside.is_dir()


def test_a_failed_signature_leaves_no_release(publisher: Publisher) -> None:
    done = publisher.make(publisher.image, f"--sign-with={'A' * 40}", "--json", sign=0)
    assert done.last["code"] == "trust.signing-failed"
    assert sorted(path.name for path in publisher.channel.iterdir()) == ["default.castr"]
    assert publisher.make(publisher.image).status == 0


def test_an_image_that_changes_while_it_is_read_is_noticed(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make_and_change(*args: object, **more: object) -> object:
        made = make(*args, **more)  # type: ignore[arg-type]
        with publisher.image.open("r+b") as file:
            file.write(b"changed")
        return made

    monkeypatch.setattr("updater.releases.cutting.make", make_and_change)
    done = publisher.make(publisher.image, "--json")
    assert done.last["code"] == "channel.refused"
    assert "changed while it was read" in done.last["message"]
    assert not (publisher.channel / "latest.json").exists()


def test_a_release_that_cannot_be_read_stops_the_channel(publisher: Publisher) -> None:
    publisher.make(publisher.image)
    path = publisher.channel / "v1" / "release.json"
    path.write_bytes(path.read_bytes() + b"\n")
    assert publisher.make(publisher.image, "--json").last["code"] == "channel.refused"


def test_a_changed_release_is_not_signed_by_mistake(publisher: Publisher) -> None:
    publisher.make(publisher.image)
    path = publisher.channel / "v1" / "release.json"
    path.write_bytes(path.read_bytes().replace(b'"sequence": 1,', b'"sequence": 01,'))
    sign = ["--gnupg-home", publisher.home, "--sign-with", publisher.names[1], "--json"]
    done = publisher.caflip("release", "make", "--add-signature", path, *sign)
    assert done.last["code"] == "release.malformed"


def test_releases_are_the_same_bytes_at_the_same_time(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1795000000")
    publisher.make(publisher.image, sign=0)
    first = (publisher.channel / "v1" / "release.json").read_bytes()
    shutil.rmtree(publisher.channel / "v1")
    publisher.make(publisher.image, sign=0)
    assert (publisher.channel / "v1" / "release.json").read_bytes() == first


def test_show_prints_what_is_not_trusted_and_says_so(publisher: Publisher, tmp_path: Path) -> None:
    publisher.make(publisher.image)
    trusted = publisher.caflip("release", "show", publisher.channel, "--keyring", publisher.keyring)
    assert trusted.status == 0
    assert trusted.text.splitlines()[-1] == "trusted"
    only_bob = ("--keyring", publisher.keyring, "--fingerprint", publisher.names[1])
    done = publisher.caflip("release", "show", publisher.channel, *only_bob)
    assert done.status == 0
    assert "NOT TRUSTED" in done.text
    shown = publisher.caflip("release", "show", publisher.channel, *only_bob, "--json").last
    assert shown["trusted"] is False
    assert shown["code"] == "release.wrong-key"
    assert shown["release"]["version"] == "1.0"
    assert publisher.verify("--fingerprint", publisher.names[1]).status == 65


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda path: path.write_bytes(path.read_bytes().replace(b"1.0", b"1.1")), "tampered"),
        (lambda path: Path(f"{path}.asc").unlink(), "unsigned"),
        (lambda path: Path(f"{path}.asc").write_bytes(b"x"), "signature-malformed"),
        (lambda path: path.write_bytes(bytes(300_000)), "too-long"),
        (lambda path: next(path.parent.glob("*.caibx")).write_bytes(b""), "index-mismatch"),
        (lambda path: (path.parent.parent / "latest.json").write_bytes(b"{}"), "pointer-malformed"),
    ],
    ids=["version", "no signature", "other signature", "length", "index", "pointer"],
)
def test_verify_refuses_by_name(
    spoil: Callable[[Path], object], code: str, publisher: Publisher
) -> None:
    publisher.make(publisher.image)
    spoil(publisher.channel / "v1" / "release.json")
    done = publisher.verify("--json")
    assert done.status == 65
    assert done.last["code"] == f"release.{code}"
    assert done.last["hint"]


def test_verify_refuses_what_has_expired(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1700000000")
    publisher.make(publisher.image, "--expires=1d")
    assert publisher.verify("--json").last["code"] == "release.expired"


def test_a_bare_index_is_verified(publisher: Publisher, tmp_path: Path) -> None:
    index = tmp_path / "bare.caibx"
    publisher.caflip("make", index, publisher.image)
    assert publisher.verify(where=index).status == 65
    command = ["gpg", "--homedir", str(publisher.home), "--batch", "--armor", "--detach-sign"]
    subprocess.run([*command, str(index)], check=True, capture_output=True)
    done = publisher.verify("--json", where=index)
    assert done.status == 0, done.err
    assert done.last["release"] is None
    assert len(done.last["caveats"]) == 3


@pytest.mark.parametrize(
    "line",
    [
        "release",
        "release frobnicate",
        "release make",
        "release make x",
        "release make x --image=y",
        "release make x y --image=rootfs=z --compatible=a --version=b",
        "release make x y",
        "release make x y --compatible=a",
        "release make x y --compatible=a --version=1 --rollout=1001",
        "release make x y --compatible=a --version=1 --sequence=0",
        "release make x y --compatible=a --version=1 --expires=1m",
        "release make x y --compatible=a --version=1 --trust-keyring=z",
        "release make http://h/x y --compatible=a --version=1",
        "release make --add-signature=x",
        "release make c --add-signature=x --sign-with=y",
        "release show",
        "release show x --fingerprint=y",
        "release verify x",
        "release verify x --keyring=y --threshold=0",
    ],
)
def test_a_line_that_makes_no_sense_is_a_usage_error(line: str, caflip: Caflip) -> None:
    done = caflip(*line.split())
    assert done.status == 64, done.err


def test_help_of_a_family_lists_its_verbs(caflip: Caflip) -> None:
    done = caflip("release", "--help")
    assert done.status == 0
    assert "release make" in done.text
    assert "keys make" not in done.text


def tree(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_the_pointer_is_json_that_anybody_can_read(publisher: Publisher) -> None:
    publisher.make(publisher.image)
    assert json.loads((publisher.channel / "latest.json").read_text()) == {
        "format": "caflip-latest-1",
        "release": "v1/release.json",
    }
    names = sorted(path.name for path in (publisher.channel / "v1").iterdir())
    index = publisher.release().images["rootfs"].index
    assert names == ["release.json", "release.json.asc", index]
    for path in (publisher.channel / "v1").iterdir():
        assert path.stat().st_mode & 0o777 == 0o644

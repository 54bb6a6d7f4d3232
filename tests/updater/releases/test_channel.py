# SPDX-License-Identifier: Apache-2.0
"""Channels on a faulty web server and on disks."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from images.digests import Digest
from images.errors import NotAccessible, SettingInvalid, StoreUnavailable
from images.index import IndexBuilder
from images.locator import HttpUrl, LocalPath, Locator, parse_locator
from images.sizes import ChunkSizes
from images.stores.settings import HttpSettings
from tests.chunk_site import CALM
from tests.faulty_server import (
    Action,
    FaultyServer,
    endless,
    redirected,
    status,
    truncated,
)
from tests.updater.releases.releases_made import IMAGE, release
from tests.updater.releases.signing_keys import NOW, SigningKeys
from updater.errors import (
    IndexMismatch,
    PointerMalformed,
    ReleaseMalformed,
    ReleaseRefused,
    Tampered,
    TooLong,
    Unsigned,
)
from updater.releases.channel import (
    Fetch,
    fetch_index,
    fetch_release,
    fetcher,
    find_release,
    index_location,
    load_bare_index,
    parse_pointer,
    pointer_bytes,
    store_locations,
)
from updater.releases.document import MAX_LENGTH, Release
from updater.releases.names import beside, with_suffix
from updater.releases.proof import ProvedRelease, prove, prove_index


def index_bytes(chunks: int, seed: bytes = b"") -> bytes:
    """Return an index of chunks of 4096 bytes."""
    builder = IndexBuilder(ChunkSizes(4096, 4096, 4096), Digest.SHA512_256)
    for number in range(chunks):
        builder.append(4096 * (number + 1), Digest.SHA512_256.of(seed + bytes([number])))
    return builder.finish().to_bytes()


def release_of(index: bytes, **changes: object) -> Release:
    chunks = (len(index) - 104) // 40
    image = replace(
        IMAGE,
        index_sha256=Digest.SHA256.of(index),
        index_length=len(index),
        image_length=4096 * chunks,
    )
    return release(images={"rootfs": image}, **changes)


@dataclass(frozen=True)
class Site:
    """A channel on a server, with one release in it."""

    server: FaultyServer
    release: Release
    index: bytes
    fetch: Fetch

    @property
    def channel(self) -> Locator:
        return parse_locator(f"{self.server.url}/stable")

    def proved(self, keys: SigningKeys) -> ProvedRelease:
        return prove(fetch_release(self.channel, self.fetch), keys.trust("alice"), NOW)


def settings_of(_: HttpUrl) -> HttpSettings:
    return CALM


@pytest.fixture
def site(keys: SigningKeys) -> Iterator[Site]:
    index = index_bytes(3)
    made = release_of(index)
    raw = made.to_bytes()
    files = {
        "/stable/latest.json": pointer_bytes("v42/release.json"),
        "/stable/v42/release.json": raw,
        "/stable/v42/release.json.asc": keys.sign(raw, "alice"),
        f"/stable/v42/{IMAGE.index}": index,
        f"/stable/v42/{IMAGE.index}.asc": keys.sign(index, "alice"),
    }
    with FaultyServer(files) as server:
        yield Site(server, made, index, fetcher(settings_of))


@pytest.mark.parametrize("path", ["", "/", "/latest.json", "/v42/release.json"])
def test_a_release_is_found_from_anywhere(path: str, site: Site, keys: SigningKeys) -> None:
    location = parse_locator(f"{site.server.url}/stable{path}")
    proved = prove(fetch_release(location, site.fetch), keys.trust("alice"), NOW)
    assert proved.release == site.release
    assert proved.digest == Digest.SHA256.of(site.release.to_bytes())
    assert proved.location.name == f"{site.server.url}/stable/v42/release.json"
    index = fetch_index(proved, "rootfs", site.fetch)
    assert index.to_bytes() == site.index


def test_a_channel_on_a_stick_is_the_same(site: Site, keys: SigningKeys, tmp_path: Path) -> None:
    for name, data in site.server.files.items():
        path = tmp_path / name[1:]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    for name in ("stable", "stable/", "stable/latest.json", "stable/v42/release.json"):
        location = LocalPath(f"{tmp_path}/{name}")
        proved = prove(fetch_release(location, site.fetch), keys.trust("alice"), NOW)
        assert fetch_index(proved, "rootfs", site.fetch).to_bytes() == site.index
        (store, cdn) = store_locations(proved)
        assert os.path.normpath(store.name) == f"{tmp_path}/stable/default.castr"
        assert cdn.name == "https://cdn.example.org/castr"


def test_a_pipe_on_a_stick_keeps_nobody_waiting(site: Site, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "release.json")
    with pytest.raises(NotAccessible, match="regular"):
        fetch_release(LocalPath(str(tmp_path / "release.json")), site.fetch)


def test_stores_and_indexes_are_beside_the_release(site: Site, keys: SigningKeys) -> None:
    proved = site.proved(keys)
    base = f"{site.server.url}/stable"
    assert index_location(proved, "rootfs").name == f"{base}/v42/{IMAGE.index}"
    assert [store.name for store in store_locations(proved)] == [
        f"{base}/default.castr",
        "https://cdn.example.org/castr",
    ]


def test_an_unsigned_release_is_refused_as_such(site: Site) -> None:
    for code in (404, 410, 403):
        site.server.script("/stable/v42/release.json.asc", status(code))
        with pytest.raises(Unsigned) as refused:
            fetch_release(site.channel, site.fetch)
        assert refused.value.code == "release.unsigned"


def test_a_server_that_is_down_is_no_lack_of_a_signature(site: Site) -> None:
    site.server.script("*", status(503, Retry_After="600"))
    with pytest.raises(StoreUnavailable):
        fetch_release(site.channel, site.fetch)


def test_a_release_that_is_not_there_is_not_accessible(site: Site) -> None:
    del site.server.files["/stable/v42/release.json"]
    with pytest.raises(NotAccessible):
        fetch_release(site.channel, site.fetch)


@pytest.mark.parametrize(
    "path", ["/stable/latest.json", "/stable/v42/release.json", "/stable/v42/release.json.asc"]
)
@pytest.mark.parametrize("action", [endless(), endless(announced=True)], ids=["open", "announced"])
def test_a_body_without_end_is_cut(path: str, action: Action, site: Site) -> None:
    site.server.script(path, action)
    with pytest.raises(TooLong) as refused:
        fetch_release(site.channel, site.fetch)
    assert refused.value.code == "release.too-long"


def test_a_release_of_one_byte_too_many_is_not_read(site: Site, tmp_path: Path) -> None:
    site.server.files["/stable/v42/release.json"] = b" " * (MAX_LENGTH + 1)
    with pytest.raises(TooLong, match=str(MAX_LENGTH)):
        fetch_release(site.channel, site.fetch)
    path = tmp_path / "release.json"
    path.write_bytes(b" " * (MAX_LENGTH + 1))
    with pytest.raises(TooLong, match=str(MAX_LENGTH)):
        fetch_release(LocalPath(str(path)), site.fetch)


@pytest.mark.parametrize("action", [endless(), endless(announced=True)], ids=["open", "announced"])
def test_an_index_is_no_longer_than_was_signed(
    action: Action, site: Site, keys: SigningKeys
) -> None:
    proved = site.proved(keys)
    site.server.script(f"/stable/v42/{IMAGE.index}", action)
    with pytest.raises(IndexMismatch, match="longer than the 224 bytes"):
        fetch_index(proved, "rootfs", site.fetch)


def test_nobody_is_asked_for_more_than_was_signed(site: Site, keys: SigningKeys) -> None:
    proved, limits = site.proved(keys), []

    def fetch(location: Locator, limit: int) -> bytes:
        limits.append(limit)
        return site.fetch(location, limit)

    fetch_index(proved, "rootfs", fetch)
    assert limits == [len(site.index)]


@pytest.mark.parametrize(
    "wrong",
    [
        lambda index: index[:-1],
        lambda index: index + b"\0",
        lambda index: bytes([index[0] ^ 1]) + index[1:],
        lambda index: index_bytes(3, seed=b"other"),
        lambda index: index_bytes(2),
        lambda index: b"",
    ],
    ids=["cut", "longer", "changed", "of another release", "shorter", "empty"],
)
def test_the_index_of_another_release_is_refused(
    wrong: Callable[[bytes], bytes], site: Site, keys: SigningKeys
) -> None:
    proved = site.proved(keys)
    site.server.files[f"/stable/v42/{IMAGE.index}"] = wrong(site.index)
    with pytest.raises(IndexMismatch) as refused:
        fetch_index(proved, "rootfs", site.fetch)
    assert refused.value.code == "release.index-mismatch"


def test_an_index_is_digested_before_it_is_parsed(
    site: Site, keys: SigningKeys, monkeypatch: pytest.MonkeyPatch
) -> None:
    def parse(*_: object) -> object:
        raise AssertionError("parsed")

    proved = site.proved(keys)
    site.server.files[f"/stable/v42/{IMAGE.index}"] = bytes(len(site.index))
    monkeypatch.setattr("images.index.Index.parse", parse)
    with pytest.raises(IndexMismatch):
        fetch_index(proved, "rootfs", site.fetch)


def test_what_is_signed_and_no_index_is_refused() -> None:
    for data, length in ((b"not an index", 4096), (index_bytes(2), 4096)):
        image = replace(
            IMAGE,
            index_sha256=Digest.SHA256.of(data),
            index_length=len(data),
            image_length=length,
        )
        with pytest.raises(IndexMismatch):
            prove_index(data, image)


def test_a_pointer_can_only_point(site: Site, keys: SigningKeys) -> None:
    """Whoever controls the pointer chooses among what was signed, and nothing else."""
    older = release_of(site.index, sequence=1).to_bytes()
    site.server.files |= {
        "/stable/v1/release.json": older,
        "/stable/v1/release.json.asc": keys.sign(older, "alice"),
        "/stable/evil/release.json": older.replace(b'"sequence": 1,', b'"sequence": 9,'),
        "/stable/evil/release.json.asc": keys.sign(older, "alice"),
        "/stable/latest.json": pointer_bytes("v1/release.json"),
    }
    assert site.proved(keys).release.sequence == 1
    site.server.files["/stable/latest.json"] = pointer_bytes("evil/release.json")
    with pytest.raises(Tampered):
        site.proved(keys)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"<html>",
        b'{"format": "caflip-latest-2", "release": "v1/release.json"}',
        b'{"format": "caflip-latest-1", "release": 1}',
        b'{"format": "caflip-latest-1", "release": "v1/release.json", "more": 1}',
        b'{"format": "caflip-latest-1", "release": "a", "release": "v1/release.json"}',
        *(
            b'{"format": "caflip-latest-1", "release": "%s"}' % name
            for name in (
                *(b"../release.json", b"/release.json", b"http://h/release.json", b"v1"),
                *(b"v1/../release.json", b"//h/release.json", b".v1/release.json", b""),
                *(b"v1/release.json?x", b"v1\\\\release.json", b"v1/%2e%2e/release.json"),
            )
        ),
    ],
)
def test_a_pointer_that_is_none_is_refused(data: bytes) -> None:
    with pytest.raises(PointerMalformed) as refused:
        parse_pointer(data, "latest.json")
    assert refused.value.code == "release.pointer-malformed"


def test_a_pointer_need_not_be_canonical() -> None:
    """People write it by hand, and nothing depends on its bytes."""
    text = b'{"release":"v1/release.json","format":"caflip-latest-1"}'
    assert parse_pointer(text, "latest.json") == "v1/release.json"
    assert parse_pointer(pointer_bytes("v1/release.json"), "x") == "v1/release.json"


def test_a_redirect_is_followed_and_the_release_stays_where_it_was_asked(
    site: Site, keys: SigningKeys
) -> None:
    site.server.files["/mirror.json"] = site.release.to_bytes()
    site.server.script("/stable/v42/release.json", redirected("/mirror.json"))
    assert site.proved(keys).location.name.endswith("/stable/v42/release.json")


def test_a_broken_transfer_is_tried_again(site: Site, keys: SigningKeys) -> None:
    site.server.script("/stable/v42/release.json", truncated(10), status(500))
    assert site.proved(keys).release == site.release


def test_a_bare_index_is_proved_by_its_own_signature(site: Site, keys: SigningKeys) -> None:
    location = parse_locator(f"{site.server.url}/stable/v42/{IMAGE.index}")
    found = load_bare_index(location, keys.trust("alice"), NOW, site.fetch)
    assert found.index.to_bytes() == site.index
    assert [signer.fingerprint for signer in found.signers] == [keys.fingerprints["alice"]]
    assert len(found.caveats) == 3
    assert all("cannot be judged" in caveat for caveat in found.caveats)


def test_a_bare_index_is_refused_like_a_release(site: Site, keys: SigningKeys) -> None:
    path = f"/stable/v42/{IMAGE.index}"
    location = parse_locator(f"{site.server.url}{path}")
    trust = keys.trust("alice")
    site.server.files[path] = index_bytes(3, seed=b"other")
    with pytest.raises(Tampered):
        load_bare_index(location, trust, NOW, site.fetch)
    site.server.files[path] = b"not an index"
    site.server.files[f"{path}.asc"] = keys.sign(b"not an index", "alice")
    with pytest.raises(IndexMismatch):
        load_bare_index(location, trust, NOW, site.fetch)
    del site.server.files[f"{path}.asc"]
    with pytest.raises(Unsigned):
        load_bare_index(location, trust, NOW, site.fetch)


def test_the_signature_of_a_release_is_none_of_an_index(site: Site, keys: SigningKeys) -> None:
    path = f"/stable/v42/{IMAGE.index}"
    site.server.files[f"{path}.asc"] = site.server.files["/stable/v42/release.json.asc"]
    with pytest.raises(ReleaseRefused):
        load_bare_index(
            parse_locator(f"{site.server.url}{path}"), keys.trust("alice"), NOW, site.fetch
        )


def test_a_signed_index_is_no_release(site: Site, keys: SigningKeys) -> None:
    raw = site.index
    site.server.files["/stable/v42/release.json"] = raw
    site.server.files["/stable/v42/release.json.asc"] = keys.sign(raw, "alice")
    with pytest.raises(ReleaseMalformed):
        site.proved(keys)


@pytest.mark.parametrize(
    ("base", "relative", "found"),
    [
        ("http://h/a/b/release.json", "x.caibx", "http://h/a/b/x.caibx"),
        ("http://h/a/b/release.json?token=1", "x.caibx", "http://h/a/b/x.caibx"),
        ("http://h/a/b/release.json", "../c/d", "http://h/a/c/d"),
        ("http://h/a/b/release.json", "../../../../c", "http://h/c"),
        ("http://h:8080/release.json", "c/d", "http://h:8080/c/d"),
        ("http://h/a/release.json", "https://g/c", "https://g/c"),
        ("/a/b/release.json", "x.caibx", "/a/b/x.caibx"),
        ("release.json", "x.caibx", "./x.caibx"),
        ("a/release.json", "../c", "a/../c"),
    ],
)
def test_relative_names_lead_there(base: str, relative: str, found: str) -> None:
    location = beside(parse_locator(base), relative)
    assert location == parse_locator(found)


def test_credentials_stay_with_what_lies_beside() -> None:
    base = parse_locator("http://user:secret@h/a/release.json")
    assert isinstance(base, HttpUrl)
    below = beside(base, "x.caibx")
    assert isinstance(below, HttpUrl)
    assert below.authorization == base.authorization
    elsewhere = beside(base, "http://g/castr")
    assert isinstance(elsewhere, HttpUrl)
    assert elsewhere.authorization is None


def test_a_signature_is_beside_its_file_query_and_all() -> None:
    url = with_suffix(parse_locator("http://h/release.json?token=1"), ".asc")
    assert url == parse_locator("http://h/release.json.asc?token=1")
    assert with_suffix(LocalPath("a"), ".asc") == LocalPath("a.asc")


def test_a_release_is_where_it_is_said_to_be(site: Site) -> None:
    location = parse_locator(f"{site.server.url}/stable/v42/release.json")
    assert find_release(location, site.fetch) == location
    assert site.server.requests == []


def test_ssh_is_no_place_of_a_channel() -> None:
    with pytest.raises(SettingInvalid):
        parse_locator("host:/srv/stable")

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.updater.releases.releases_made import IMAGE, RELEASE, release, releases, trust_change
from tests.updater.releases.signing_keys import SigningKeys
from updater.errors import FormatUnknown, ReleaseMalformed
from updater.releases.document import (
    MAX_LENGTH,
    FileSystem,
    Release,
    ReleaseImage,
    TrustChange,
    canonical,
    read_json,
)
from updater.releases.times import format_time, parse_time

DATA = RELEASE.to_bytes()


def changed(change: Callable[[dict[str, Any]], object]) -> bytes:
    """Return canonical bytes of a document that somebody changed."""
    document = json.loads(DATA)
    change(document)
    return canonical(document)


def put(key: str, value: object) -> bytes:
    return changed(lambda document: document.__setitem__(key, value))


def put_image(key: str, value: object) -> bytes:
    return changed(lambda document: document["images"]["rootfs"].__setitem__(key, value))


def test_the_bytes_are_these() -> None:
    assert DATA.decode() == (
        "{\n"
        '  "compatible": "acme,gateway",\n'
        '  "created": "2026-10-22T00:00:00Z",\n'
        '  "expires": "2027-01-19T00:00:00Z",\n'
        '  "format": "caflip-release-1",\n'
        '  "images": {\n'
        '    "rootfs": {\n'
        '      "file_system": {\n'
        '        "kind": "ext4",\n'
        '        "length": 4096,\n'
        '        "uuid": "2f1d3c4b-0000-4000-8000-000000000001"\n'
        "      },\n"
        '      "image_length": 4096,\n'
        f'      "image_sha256": "{"00" * 32}",\n'
        '      "index": "rootfs-0123456789ab.caibx",\n'
        '      "index_length": 144,\n'
        f'      "index_sha256": "{bytes(range(32)).hex()}"\n'
        "    }\n"
        "  },\n"
        '  "notes": "First line.\\nSecond line: ä",\n'
        '  "rollout": null,\n'
        '  "sequence": 42,\n'
        '  "stores": [\n'
        '    "../default.castr",\n'
        '    "https://cdn.example.org/castr"\n'
        "  ],\n"
        '  "trust": null,\n'
        '  "variants": [],\n'
        '  "version": "2.1"\n'
        "}\n"
    )


@given(releases())
def test_what_is_written_is_read_back(made: Release) -> None:
    data = made.to_bytes()
    assert Release.parse(data) == made
    assert Release.parse(data).to_bytes() == data


@given(st.binary(max_size=300))
def test_any_bytes_are_refused_by_name(data: bytes) -> None:
    with pytest.raises((ReleaseMalformed, FormatUnknown)):
        Release.parse(data)


@given(st.integers(0, len(DATA) - 1), st.integers(1, 255))
def test_a_changed_byte_is_refused_or_means_something_else(at: int, flip: int) -> None:
    data = bytearray(DATA)
    data[at] ^= flip
    try:
        read = Release.parse(bytes(data))
    except (ReleaseMalformed, FormatUnknown):
        return
    assert read != RELEASE
    assert read.to_bytes() == bytes(data)


@pytest.mark.parametrize("keep", range(0, len(DATA), 13))
def test_a_cut_release_is_refused(keep: int) -> None:
    with pytest.raises(ReleaseMalformed):
        Release.parse(DATA[:keep])


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(DATA[:-1], id="no newline"),
        pytest.param(DATA + b"\n", id="another newline"),
        pytest.param(b" " + DATA, id="space in front"),
        pytest.param(b"\xef\xbb\xbf" + DATA, id="byte order mark"),
        pytest.param(DATA.replace(b"\n", b"\r\n"), id="other line ends"),
        pytest.param(json.dumps(json.loads(DATA)).encode() + b"\n", id="one line"),
        pytest.param(DATA.replace("ä".encode(), b"\\u00e4"), id="escaped"),
        pytest.param(DATA.replace(b'"2.1"', b'"\\u0032.1"'), id="escaped for no reason"),
        pytest.param(DATA.replace(b" 42,", b" 42.0,"), id="fraction"),
        pytest.param(DATA.replace(b" 42,", b" 42e0,"), id="exponent"),
        pytest.param(DATA.replace(b" 42,", b" -0,"), id="negative zero"),
        pytest.param(DATA.replace(b" 42,", b" NaN,"), id="not a number"),
        pytest.param(DATA.replace(b" 42,", b" Infinity,"), id="infinity"),
        pytest.param(DATA.replace(b" 42,", b" 9007199254740992,"), id="2^53"),
        pytest.param(DATA.replace(b" 42,", b" " + b"9" * 5000 + b","), id="5000 digits"),
        pytest.param(DATA.replace(b"{\n", b'{\n  "version": "2.1",\n', 1), id="key twice"),
        pytest.param(DATA.replace("ä".encode(), b"\\ud800"), id="half a surrogate pair"),
        pytest.param(DATA.replace("ä".encode(), b"\xc3"), id="not UTF-8"),
        pytest.param(b"[" * 200_000, id="deep list"),
        pytest.param(b'{"a":' * 40_000, id="deep object"),
        pytest.param(b"[]\n", id="list"),
        pytest.param(b"null\n", id="null"),
        pytest.param(b"", id="nothing"),
        pytest.param(DATA + b" " * MAX_LENGTH, id="too long"),
        pytest.param(put("surprise", 1), id="unknown key"),
        pytest.param(put_image("surprise", 1), id="unknown key of an image"),
        pytest.param(changed(lambda d: d.pop("notes")), id="lacking key"),
        pytest.param(changed(lambda d: d.pop("format")), id="no format"),
        pytest.param(put("format", 1), id="format of another type"),
        pytest.param(put("sequence", 0), id="sequence 0"),
        pytest.param(put("sequence", -1), id="sequence -1"),
        pytest.param(put("sequence", True), id="sequence true"),
        pytest.param(put("sequence", "42"), id="sequence text"),
        pytest.param(put("sequence", None), id="sequence null"),
        pytest.param(put("version", ""), id="empty version"),
        pytest.param(put("version", "a\nb"), id="version of two lines"),
        pytest.param(put("version", "\x1b[2J"), id="control sequence"),
        pytest.param(put("version", "a‮b"), id="reversed text"),
        pytest.param(put("version", "x" * 129), id="long version"),
        pytest.param(put("notes", "x" * 16385), id="long notes"),
        pytest.param(put("compatible", " acme"), id="space at an end"),
        pytest.param(put("compatible", ["acme"]), id="compatible list"),
        pytest.param(put("variants", "emmc"), id="variants text"),
        pytest.param(put("variants", ["a", "a"]), id="variant twice"),
        pytest.param(put("variants", [1]), id="variant number"),
        pytest.param(put("variants", [f"v{n}" for n in range(65)]), id="many variants"),
        pytest.param(put("stores", [f"s{n}" for n in range(17)]), id="many stores"),
        pytest.param(put("rollout", 1001), id="rollout 1001"),
        pytest.param(put("rollout", -1), id="rollout -1"),
        pytest.param(put("rollout", False), id="rollout false"),
        pytest.param(put("created", "2026-10-22"), id="date"),
        pytest.param(put("created", "2026-10-22T00:00:00+00:00"), id="offset"),
        pytest.param(put("created", "2026-10-22T00:00:00.5Z"), id="fraction of a second"),
        pytest.param(put("created", "2026-02-30T00:00:00Z"), id="no such day"),
        pytest.param(put("created", "2026-12-31T23:59:60Z"), id="leap second"),
        pytest.param(put("created", "1969-12-31T23:59:59Z"), id="before 1970"),
        pytest.param(put("expires", "2106-01-01T00:00:00Z"), id="after 2105"),
        pytest.param(put("expires", "2026-10-22T00:00:00Z"), id="expires when created"),
        pytest.param(put("images", {}), id="no images"),
        pytest.param(put("images", []), id="images list"),
        pytest.param(changed(lambda d: d["images"].update(rootfs=1)), id="image number"),
        pytest.param(changed(lambda d: d["images"].update(Root=d["images"]["rootfs"])), id="class"),
        pytest.param(
            changed(
                lambda d: d["images"].update({f"c{n}": d["images"]["rootfs"] for n in range(16)})
            ),
            id="17 images",
        ),
        pytest.param(put_image("index_length", 0), id="empty index"),
        pytest.param(put_image("index_length", (64 << 20) + 1), id="long index"),
        pytest.param(put_image("image_length", 0), id="empty image"),
        pytest.param(put_image("index_sha256", "00" * 31), id="short digest"),
        pytest.param(put_image("index_sha256", "AB" * 32), id="upper-case digest"),
        pytest.param(put_image("file_system", {"kind": "ext4"}), id="file system without length"),
        pytest.param(
            put_image("file_system", {"kind": "ext4", "length": 4097, "uuid": None}),
            id="file system longer than the image",
        ),
        pytest.param(put("trust", {}), id="empty trust"),
    ],
)
def test_it_is_refused(data: bytes) -> None:
    with pytest.raises(ReleaseMalformed) as refused:
        Release.parse(data)
    assert refused.value.code == "release.malformed"
    assert len(str(refused.value)) < 300


def test_an_unknown_key_is_named() -> None:
    for data, where in ((put("surprise", 1), "release"), (put_image("surprise", 1), "rootfs")):
        with pytest.raises(ReleaseMalformed, match=f"{where} has an unknown key 'surprise'"):
            Release.parse(data)


@pytest.mark.parametrize(
    "name",
    [
        *("../x.caibx", "/x.caibx", "a/../x.caibx", "./x.caibx", "a//x.caibx", ".x.caibx"),
        *("x.caibx/", "x.caidx", "x", "", "a\\x.caibx", "x%2fy.caibx", "http://h/x.caibx"),
        *("x\0.caibx", "x\n.caibx", "x.caibx\n", "ä.caibx", "x?y.caibx", "a" * 250 + ".caibx"),
    ],
)
def test_an_index_lies_below_its_release(name: str) -> None:
    with pytest.raises(ReleaseMalformed):
        Release.parse(put_image("index", name))


@pytest.mark.parametrize(
    "store",
    [
        *("/castr", "./castr", "a/../castr", "..", "../..", "", ".hidden", "a b", "file:///castr"),
        *("ftp://h/c", "https://user:secret@h/c", "https://h/c?token=1", "host:path"),
        *("https://h/c#f", "http://", "https://h/" + "c" * 2048),
    ],
)
def test_a_store_is_a_url_without_secrets_or_a_relative_path(store: str) -> None:
    with pytest.raises(ReleaseMalformed) as refused:
        Release.parse(put("stores", [store]))
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize("store", ["castr", "../castr", "../../a/b.castr", "http://h:80/a/b"])
def test_these_stores_are_allowed(store: str) -> None:
    assert Release.parse(put("stores", [store])).stores == (store,)


def test_another_format_is_named_before_its_rules_are_broken() -> None:
    data = changed(lambda d: (d.update(format="caflip-release-2", surprise=1), d.pop("notes")))
    with pytest.raises(FormatUnknown, match=re.escape("'caflip-release-2'")):
        Release.parse(data)
    with pytest.raises(FormatUnknown):
        Release.parse(json.dumps({"format": "caflip-release-2"}).encode())


def test_a_record_holds_the_same_rules_as_the_bytes() -> None:
    with pytest.raises(ReleaseMalformed):
        release(sequence=0)
    with pytest.raises(ReleaseMalformed):
        release(images={"rootfs": ReleaseImage("x.caibx", b"short", 1, 1, bytes(32))})
    with pytest.raises(ReleaseMalformed):
        release(version="\ud800")
    assert release(images={"a": IMAGE}).images == {"a": IMAGE}


def test_all_fields_at_their_limits_fit() -> None:
    name = "n" * 240
    image = ReleaseImage(
        f"{name}.caibx",
        bytes(32),
        64 << 20,
        (1 << 53) - 1,
        bytes(32),
        FileSystem("k" * 128, (1 << 53) - 1, "u" * 128),
    )
    largest = release(
        compatible="\U0001f600" * 128,
        variants=tuple(f"{number:03}" + "\U0001f600" * 125 for number in range(64)),
        version="\U0001f600" * 128,
        images={f"{'c' * 30}{number:02}": image for number in range(16)},
        stores=tuple(f"https://h/{number:02}" + "s" * 2000 for number in range(16)),
        notes="\U0001f600" * (16 << 10),
        rollout=1000,
    )
    assert Release.parse(largest.to_bytes()) == largest


def test_keys_of_a_rotation_are_those_of_its_fingerprints(keys: SigningKeys) -> None:
    change = trust_change(keys, "alice", "bob", version=2, threshold=2)
    made = release(trust=change)
    assert Release.parse(made.to_bytes()) == made
    first, second = change.keys
    for wrong in (
        TrustChange(2, change.fingerprints, 2, (second, first)),
        TrustChange(2, change.fingerprints, 2, (first,)),
        TrustChange(2, change.fingerprints, 2, (first, first + second)),
        TrustChange(2, change.fingerprints, 3, change.keys),
        TrustChange(2, change.fingerprints, 0, change.keys),
        TrustChange(0, change.fingerprints, 2, change.keys),
        TrustChange(2, (), 1, ()),
        TrustChange(2, change.fingerprints, 2, (first, "-----BEGIN nonsense")),
        TrustChange(2, (change.fingerprints[0].lower(), change.fingerprints[1]), 2, change.keys),
        TrustChange(2, (change.fingerprints[0],) * 2, 2, (first, first)),
    ):
        with pytest.raises(ReleaseMalformed):
            release(trust=wrong)


def test_a_secret_key_in_a_rotation_is_refused(keys: SigningKeys) -> None:
    name = keys.fingerprints["alice"]
    secret = keys.gpg("--armor", "--export-secret-keys", name).decode()
    with pytest.raises(ReleaseMalformed):
        release(trust=TrustChange(2, (name,), 1, (secret,)))


@given(st.datetimes(datetime(1970, 1, 1), datetime(2105, 12, 31), timezones=st.just(UTC)))
def test_moments_keep_their_seconds(moment: datetime) -> None:
    assert parse_time(format_time(moment)) == moment.replace(microsecond=0)


def test_moments_of_other_zones_become_utc() -> None:
    from datetime import timezone

    moment = datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=2)))
    assert format_time(moment) == "2025-12-31T23:00:00Z"


def test_json_of_other_documents_is_read_by_the_same_rules() -> None:
    assert read_json(b'{"a": [1, {"b": null}]}') == {"a": [1, {"b": None}]}
    with pytest.raises(ReleaseMalformed):
        read_json(b'{"a": {"b": 1, "b": 2}}')

# SPDX-License-Identifier: Apache-2.0
"""Locators and derived stores; the cases are those of casync's own test and its binary."""

from __future__ import annotations

import base64

import pytest

from images.errors import SettingInvalid
from images.locator import (
    HttpUrl,
    LocalPath,
    chunk_base,
    default_store,
    origin_of,
    parse_locator,
    without_credentials,
)


@pytest.mark.parametrize(
    "text", [".", "..", "./foo", "/foo/bar", "foo", "foo/bar", "foo/bar:baz", "./a:b", "/a:b", "a:"]
)
def test_paths_stay_as_they_are(text: str) -> None:
    assert parse_locator(text) == LocalPath(text)


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("file:///p/q", "/p/q"),
        ("file://localhost/p/q", "/p/q"),
        ("file:///a%20b%ff", "/a b\udcff"),
    ],
)
def test_file_urls_become_paths(text: str, path: str) -> None:
    assert parse_locator(text) == LocalPath(path)


@pytest.mark.parametrize(
    "text",
    [
        "http://foobar.com/xyz.txt",
        "https://foobar.com/xyz.txt?piff=paff",
        "http://127.0.0.1:1234/xyz.txt",
        "http://[::1]:1234/xyz.txt",
        "http://h",
        "http://h;v=1",
        "http://h?q",
    ],
)
def test_web_urls_stay_as_they_are(text: str) -> None:
    assert parse_locator(text) == HttpUrl(text)


@pytest.mark.parametrize(
    ("user", "plain"),
    [("me:pa%20ss", b"me:pa ss"), ("me", b"me:"), ("me:", b"me:"), ("a%40b:c:d", b"a@b:c:d")],
)
def test_a_user_becomes_authorization(user: str, plain: bytes) -> None:
    locator = parse_locator(f"https://{user}@host:8443/x?q=1")
    authorization = "Basic " + base64.b64encode(plain).decode()
    assert locator == HttpUrl("https://host:8443/x?q=1", authorization)
    assert locator.name == "https://host:8443/x"


@pytest.mark.parametrize("text", ["host:path", "me@host:path/x", "HTTP://host/x"])
def test_ssh_is_refused_by_name(text: str) -> None:
    with pytest.raises(SettingInvalid, match="ssh"):
        parse_locator(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ftp://host/x",
        "sftp://host/x",
        "http://",
        "http:///x",
        "http://host name/x",
        "http://host/a b",
        "http://host/a\r\nX: y",
        "http://host/\u00e4",
        "http://host/\U0001f600",
        "http://host:port/x",
        "http://host:99999/x",
        "file://elsewhere/x",
        "file://",
    ],
)
def test_what_cannot_be_used_is_refused(text: str) -> None:
    with pytest.raises(SettingInvalid):
        parse_locator(text)


@pytest.mark.parametrize(
    "text",
    [
        "http://me:s3cret@host name/x",
        "http://me:s3/cret@host/x",
        "http://me:s3cret!@host/x",
        "http://me:s3cret@[bad/x",
    ],
)
def test_a_malformed_url_is_refused_without_repeating_a_password(text: str) -> None:
    with pytest.raises(SettingInvalid) as raised:
        parse_locator(text)
    assert "s3" not in f"{raised.value!r} {raised.value.hint}"


@pytest.mark.parametrize(
    ("index", "store"),
    [
        ("foo.caibx", "default.castr"),
        ("./miepf", "./default.castr"),
        ("../miepf", "../default.castr"),
        ("some/thing/miepf", "some/thing/default.castr"),
        ("/some/thing/miepf", "/some/thing/default.castr"),
        ("/miepf", "/default.castr"),
        ("http://h", "http://h/default.castr"),
        ("http://h/", "http://h/default.castr"),
        ("http://h/a.caibx", "http://h/default.castr"),
        ("http://h/d/a.caibx", "http://h/d/default.castr"),
        ("http://h/d/", "http://h/d/default.castr"),
        ("http://h/d/a.caibx?q=1/2", "http://h/d/default.castr"),
        ("http://h/d/a.caibx;q=1/2", "http://h/d/default.castr"),
        ("http://h?a/b", "http://h/default.castr"),
        ("file:///d/a.caibx", "/d/default.castr"),
    ],
)
def test_the_store_is_derived_from_the_index(index: str, store: str) -> None:
    assert default_store(parse_locator(index)) == parse_locator(store)


def test_the_derived_store_has_the_credentials_of_the_index() -> None:
    index = parse_locator("https://me:pw@h/a.caibx?x")
    assert default_store(index) == parse_locator("https://me:pw@h/default.castr")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://me:pw@host/a@b", "http://host/a@b"),
        ("http://a@b@host/x", "http://host/x"),
        ("http://host/x?user@host", "http://host/x?user@host"),
        ("/path/me:pw@host", "/path/me:pw@host"),
    ],
)
def test_credentials_are_cut_out(text: str, shown: str) -> None:
    assert without_credentials(text) == shown


def test_an_origin_is_scheme_host_and_port() -> None:
    assert origin_of("http://Host/x") == origin_of("http://host:80/y") == ("http", "host", 80)
    assert origin_of("https://host/") == ("https", "host", 443)
    assert origin_of("http://[::1]:81") == ("http", "::1", 81)


@pytest.mark.parametrize("tail", ["", "/", "///", "?a=/b/", ";v=1?x", "/?", "#f"])
def test_chunks_lie_below_the_url_without_query_and_slashes(tail: str) -> None:
    assert chunk_base(f"http://h/castr{tail}") == "http://h/castr"

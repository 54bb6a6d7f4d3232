# SPDX-License-Identifier: Apache-2.0
"""Redirects are followed within bounds, and credentials never leave the store's own origin."""

from __future__ import annotations

import base64
from dataclasses import replace

import pytest

from images.errors import ImageError, StoreUnavailable
from images.fetch import fetch_bytes
from images.locator import HttpUrl
from images.stores.settings import MOST_REDIRECTS
from tests.chunk_site import CALM, ChunkSite, fetch, http_url
from tests.faulty_server import FaultyServer, redirected, status

pytestmark = pytest.mark.usefixtures("transfer_kind")

SECRET = "s3cret"
WITH_HEADERS = replace(CALM, headers={"Authorization": f"Bearer {SECRET}", "X-Key": SECRET})
BASIC = "Basic " + base64.b64encode(b"me:s3cret").decode()


def with_user(url: str) -> str:
    return url.replace("://", f"://me:{SECRET}@")


def test_user_and_password_become_basic_authorization() -> None:
    with ChunkSite(1) as site:
        [answer] = site.ask(url=with_user(site.url))
        assert answer.error is None
        assert site.server.requests[0].headers["authorization"] == BASIC
        assert answer.source == site.url


def test_the_user_of_the_url_wins_over_the_settings() -> None:
    with ChunkSite(1) as site:
        settings = replace(CALM, headers={"authorization": "Bearer other", "X-Empty": ""})
        site.ask(url=with_user(site.url), settings=settings)
        assert site.server.requests[0].headers["authorization"] == BASIC


def test_headers_of_the_settings_are_sent() -> None:
    with ChunkSite(1) as site:
        site.ask(settings=WITH_HEADERS)
        headers = site.server.requests[0].headers
        assert headers["authorization"] == f"Bearer {SECRET}"
        assert headers["x-key"] == SECRET


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_a_redirect_within_the_origin_is_followed_with_credentials(code: int) -> None:
    with ChunkSite(1) as site:
        site.server.files["/moved"] = site.bodies[0]
        site.server.script(site.path(0), redirected("/moved", code))
        [answer] = site.ask(settings=WITH_HEADERS)
        assert answer.error is None
        assert [seen.path for seen in site.server.requests] == [site.path(0), "/moved"]
        assert site.server.requests[1].headers["x-key"] == SECRET


@pytest.mark.parametrize("user", [False, True])
def test_a_redirect_to_another_origin_gets_no_credentials(user: bool) -> None:
    with ChunkSite(1) as site, FaultyServer({"/moved": site.bodies[0]}) as other:
        site.server.script(site.path(0), redirected(f"{other.url}/moved"))
        url = with_user(site.url) if user else site.url
        [answer] = site.ask(url=url, settings=WITH_HEADERS)
        assert answer.error is None
        assert "x-key" in site.server.requests[0].headers
        assert not {"authorization", "x-key"} & set(other.requests[0].headers)
        assert SECRET not in repr(other.requests)


def test_another_host_name_is_another_origin() -> None:
    with ChunkSite(1) as site:
        site.server.files["/moved"] = site.bodies[0]
        elsewhere = site.server.url.replace("localhost", "127.0.0.1")
        site.server.script(site.path(0), redirected(f"{elsewhere}/moved"))
        site.ask(settings=WITH_HEADERS)
        assert "x-key" not in site.server.requests[1].headers


def test_credentials_do_not_come_back_after_a_detour() -> None:
    with ChunkSite(1) as site, FaultyServer() as other:
        site.server.files["/home"] = site.bodies[0]
        site.server.script(site.path(0), redirected(f"{other.url}/detour"))
        other.script("/detour", redirected(f"{site.server.url}/home"))
        [answer] = site.ask(settings=WITH_HEADERS)
        assert answer.error is None
        assert "x-key" not in site.server.requests[1].headers


def test_credentials_do_not_come_back_within_the_other_origin() -> None:
    with ChunkSite(1) as site, FaultyServer({"/last": site.bodies[0]}) as other:
        site.server.script(site.path(0), redirected(f"{other.url}/first"))
        other.script("/first", redirected("/last"))
        [answer] = site.ask(settings=WITH_HEADERS)
        assert answer.error is None
        assert [seen.path for seen in other.requests] == ["/first", "/last"]
        assert all("x-key" not in seen.headers for seen in other.requests)


def test_a_user_in_a_redirect_is_not_used() -> None:
    with ChunkSite(1) as site, FaultyServer({"/moved": site.bodies[0]}) as other:
        site.server.script(site.path(0), redirected(with_user(f"{other.url}/moved")))
        site.ask()
        assert "authorization" not in other.requests[0].headers


def test_a_retry_after_a_redirect_starts_at_the_store_again() -> None:
    with ChunkSite(1) as site, FaultyServer({"/moved": site.bodies[0]}) as other:
        site.server.script(site.path(0), *[redirected(f"{other.url}/moved")] * 2)
        other.script("/moved", status(502))
        [answer] = site.ask(settings=WITH_HEADERS)
        assert answer.error is None
        assert ["x-key" in seen.headers for seen in site.server.requests] == [True, True]


def test_a_loop_of_redirects_ends() -> None:
    with ChunkSite(1) as site:
        site.server.script("*", redirected(site.path(0)))
        [answer] = site.ask()
        assert isinstance(answer.error, StoreUnavailable)
        assert "redirects" in str(answer.error)
        assert len(site.server.requests) == MOST_REDIRECTS + 1


@pytest.mark.parametrize(
    "location", ["file:///etc/passwd", "ftp://localhost/x", "http://", "gopher://localhost/"]
)
def test_a_redirect_out_of_the_web_is_refused(location: str) -> None:
    with ChunkSite(1) as site:
        site.server.script(site.path(0), redirected(location))
        [answer] = site.ask()
        assert isinstance(answer.error, StoreUnavailable)
        assert site.server.count(site.path(0)) == 1


@pytest.mark.parametrize(
    "code", [401, 403, 404, 429, 500, 302, 400], ids=lambda code: f"status-{code}"
)
def test_no_secret_is_in_any_error(code: int) -> None:
    with ChunkSite(2) as site:
        site.server.script("*", status(code, Location=f"http://me:{SECRET}@[bad/?sig={SECRET}"))
        url = with_user(site.url) + f"?token={SECRET}"
        settings = replace(WITH_HEADERS, deadline_s=0.5)
        for answer in site.ask(url=url, settings=settings):
            assert SECRET not in f"{answer.error!r} {answer.error} {answer!r}"
        with pytest.raises(ImageError) as raised:
            fetch_bytes(http_url(url), settings, 100)
        assert SECRET not in f"{raised.value!r} {raised.value.__cause__!r} {raised.getrepr()}"


def test_no_secret_is_in_an_error_of_the_network() -> None:
    url = http_url(f"http://me:{SECRET}@127.0.0.1:1/castr?token={SECRET}")
    with ChunkSite(2) as site:
        answers = fetch(url, site.refs, replace(WITH_HEADERS, deadline_s=0.5))
    assert SECRET not in f"{answers!r} {[str(answer.error) for answer in answers]}"


def test_no_secret_is_in_the_repr_of_settings_and_locators() -> None:
    settings = replace(WITH_HEADERS, proxy=f"http://me:{SECRET}@proxy")
    url = http_url(f"http://me:{SECRET}@host/x?token=1")
    assert SECRET not in repr(settings)
    assert SECRET not in repr(url) + url.name
    assert BASIC not in repr(url)
    assert isinstance(url, HttpUrl)

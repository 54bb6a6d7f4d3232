# SPDX-License-Identifier: Apache-2.0
"""TLS with a private CA, client certificates, and proxies."""

from __future__ import annotations

import base64
import ssl
from dataclasses import replace
from pathlib import Path

import pytest
import trustme

from images.errors import NotAccessible, StoreUnavailable
from images.fetch import fetch_bytes
from images.stores.settings import HttpSettings
from tests.chunk_site import CALM, ChunkSite, http_url
from tests.faulty_server import FaultyServer, redirected
from tests.forward_proxy import ForwardProxy

pytestmark = pytest.mark.usefixtures("transfer_kind")


class Authority:
    """A private CA, and what it issued for one test."""

    def __init__(self, folder: Path) -> None:
        self._ca = trustme.CA()
        self.ca_file = str(folder / "ca.pem")
        self._ca.cert_pem.write_to_path(self.ca_file)
        client = self._ca.issue_cert(common_name="device-7")
        self.client_cert, self.client_key = str(folder / "client.pem"), str(folder / "client.key")
        client.private_key_pem.write_to_path(self.client_key)
        for pem in client.cert_chain_pems:
            pem.write_to_path(self.client_cert, append=True)
        self.both = str(folder / "both.pem")
        client.private_key_and_cert_chain_pem.write_to_path(self.both)
        self.settings = replace(CALM, ca_file=self.ca_file)

    def server(self, clients: ssl.VerifyMode = ssl.CERT_NONE) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._ca.issue_cert("localhost").configure_cert(context)
        self._ca.configure_trust(context)
        context.verify_mode = clients
        return context


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def test_a_private_ca_is_trusted(authority: Authority) -> None:
    with ChunkSite(30, tls=authority.server()) as site:
        answers = site.ask(settings=authority.settings)
        assert all(answer.error is None for answer in answers)


def test_an_unknown_ca_ends_it_at_once(authority: Authority) -> None:
    with ChunkSite(200, tls=authority.server()) as site:
        answers = site.ask()
        assert all(isinstance(answer.error, StoreUnavailable) for answer in answers)
        assert all("certificate" in str(answer.error) for answer in answers)
        assert site.server.requests == []
        assert site.server.connections <= 40


def test_a_certificate_for_another_name_is_refused(authority: Authority) -> None:
    with ChunkSite(1, tls=authority.server()) as site:
        url = site.url.replace("localhost", "127.0.0.1")
        [answer] = site.ask(settings=authority.settings, url=url)
        assert isinstance(answer.error, StoreUnavailable)
        assert site.server.requests == []


@pytest.mark.parametrize("one_file", [False, True])
def test_the_client_certificate_is_shown(authority: Authority, one_file: bool) -> None:
    with ChunkSite(5, tls=authority.server(ssl.CERT_REQUIRED)) as site:
        if one_file:
            settings = replace(authority.settings, client_cert=authority.both)
        else:
            settings = replace(
                authority.settings,
                client_cert=authority.client_cert,
                client_key=authority.client_key,
            )
        answers = site.ask(settings=settings)
        assert all(answer.error is None for answer in answers)
        assert {seen.client for seen in site.server.requests} == {"device-7"}


def test_without_the_client_certificate_the_store_is_unavailable(authority: Authority) -> None:
    with ChunkSite(200, tls=authority.server(ssl.CERT_REQUIRED)) as site:
        answers = site.ask(settings=authority.settings)
        assert all(isinstance(answer.error, StoreUnavailable) for answer in answers)
        assert site.server.requests == []


def test_the_client_certificate_does_not_follow_a_redirect(authority: Authority) -> None:
    optional = ssl.CERT_OPTIONAL
    with (
        ChunkSite(1, tls=authority.server(optional)) as site,
        FaultyServer({"/moved": site.bodies[0]}, authority.server(optional)) as other,
    ):
        site.server.script(site.path(0), redirected(f"{other.url}/moved"))
        [answer] = site.ask(settings=replace(authority.settings, client_cert=authority.both))
        assert answer.error is None
        assert [seen.client for seen in site.server.requests] == ["device-7"]
        assert [seen.client for seen in other.requests] == [None]


def test_a_redirect_from_https_to_http_is_refused(authority: Authority) -> None:
    with (
        ChunkSite(1, tls=authority.server()) as site,
        FaultyServer({"/moved": site.bodies[0]}) as plain,
    ):
        site.server.script(site.path(0), redirected(f"{plain.url}/moved"))
        [answer] = site.ask(settings=authority.settings)
        assert isinstance(answer.error, StoreUnavailable)
        assert "https to http" in str(answer.error)
        assert plain.requests == []


def test_files_that_are_not_there_are_named(tmp_path: Path) -> None:
    nowhere = str(tmp_path / "nowhere.pem")
    with ChunkSite(1) as site:
        for settings in (
            replace(CALM, ca_file=nowhere),
            replace(CALM, client_cert=nowhere),
            replace(CALM, client_cert=__file__, client_key=nowhere),
        ):
            with pytest.raises(NotAccessible, match=r"nowhere\.pem"):
                fetch_bytes(http_url(site.url + "/x"), settings, 100)


def test_the_proxy_of_the_settings_is_used() -> None:
    with ChunkSite(3) as site, ForwardProxy() as proxy:
        answers = site.ask(settings=replace(CALM, proxy=proxy.url))
        assert all(answer.error is None for answer in answers)
        assert len(proxy.heads) == 3
        assert all(head.startswith(f"GET {site.url}/") for head in proxy.heads)


def test_https_goes_through_a_tunnel(authority: Authority) -> None:
    with ChunkSite(3, tls=authority.server()) as site, ForwardProxy() as proxy:
        answers = site.ask(settings=replace(authority.settings, proxy=proxy.url))
        assert all(answer.error is None for answer in answers)
        assert all(head.startswith("CONNECT localhost:") for head in proxy.heads)
        assert site.server.requests


def test_credentials_of_the_store_stay_in_the_tunnel(authority: Authority) -> None:
    with ChunkSite(1, tls=authority.server()) as site, ForwardProxy() as proxy:
        settings = replace(authority.settings, proxy=proxy.url, headers={"X-Key": "s3cret"})
        [answer] = site.ask(settings=settings)
        assert answer.error is None
        assert "s3cret" not in "".join(proxy.heads)
        assert site.server.requests[0].headers["x-key"] == "s3cret"


def test_a_password_for_the_proxy_is_sent_to_it_alone() -> None:
    with ChunkSite(1) as site, ForwardProxy() as proxy:
        with_user = proxy.url.replace("://", "://me:s3cret@")
        site.ask(settings=replace(CALM, proxy=with_user))
        said = base64.b64encode(b"me:s3cret").decode()
        assert f"Basic {said}" in proxy.heads[0]


def test_a_password_for_the_proxy_is_in_no_error() -> None:
    with ChunkSite(1) as site:
        for proxy in ("http://me:s3cret@127.0.0.1:1", "http://me:s3cret@[bad"):
            [answer] = site.ask(settings=replace(CALM, proxy=proxy, deadline_s=0.5))
            assert "s3cret" not in f"{answer.error!r}"
        assert site.server.requests == []


def test_proxies_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with ChunkSite(1) as site, ForwardProxy() as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        site.ask()
        assert len(proxy.heads) == 1
        monkeypatch.setenv("no_proxy", "localhost")
        site.ask()
        assert len(proxy.heads) == 1
        monkeypatch.delenv("no_proxy")
        site.ask(settings=HttpSettings(proxy=""))
        assert len(proxy.heads) == 1
        assert len(site.server.requests) == 3


def test_a_proxy_for_https_comes_from_the_environment(
    authority: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ChunkSite(1, tls=authority.server()) as site, ForwardProxy() as proxy:
        monkeypatch.setenv("https_proxy", proxy.url)
        [answer] = site.ask(settings=authority.settings)
        assert answer.error is None
        assert len(proxy.heads) == 1

# SPDX-License-Identifier: Apache-2.0
"""What goes wrong on the way to a good origin: names, certificates, and a proxy that truncates."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from tests.faulty_server import Action, FaultyServer, status, truncated
from tests.updater.faults.origin import (
    LATEST,
    Paths,
    chunks_of,
    files_of,
    refused,
    update_from,
)
from tests.updater.faults.rig import Rig
from tests.updater.running import Run

ORIGIN = "http://localhost:1"
"""Where nobody listens: what the proxy does not answer does not come."""


@pytest.fixture
def files(rig: Rig) -> dict[str, bytes]:
    return files_of(rig.published.site.folder)


def test_a_name_that_is_not_known_ends_it(rig: Rig) -> None:
    # RFC 6761, 6.4: nobody has this name.
    done = update_from(rig, "http://updates.invalid")
    assert done.status == 75
    assert done.last["code"] in ("agent.no-network", "image.store-unavailable"), done.err
    rig.untouched()
    rig.finish()


def test_a_further_store_whose_name_is_not_known_is_done_without(
    rig: Rig, files: dict[str, bytes]
) -> None:
    with rig.device.config.open("a") as config:
        config.write('[stores]\nextra = ["http://updates.invalid/castr"]\n')
    with FaultyServer(files) as server:
        done = rig.device.run("update", f"{server.url}/", "--json")
    assert done.status == 0, done.err
    rig.finish()


@dataclass(frozen=True, slots=True)
class Certificates:
    """A server's certificates from one authority.

    Attributes:
        settings: text for the settings of a store.
    """

    settings: str
    expired: ssl.SSLContext
    valid: ssl.SSLContext


@pytest.fixture
def certificates(tmp_path: Path) -> Certificates:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    now = datetime.now(UTC)
    contexts = []
    for end in (now - timedelta(days=1), now + timedelta(days=1)):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate = authority.issue_cert(
            "localhost", not_before=now - timedelta(days=9), not_after=end
        )
        certificate.configure_cert(context)
        contexts.append(context)
    return Certificates(f'ca-file = "{tmp_path / "ca.pem"}"', *contexts)


def test_an_expired_certificate_is_refused_and_a_valid_one_taken(
    rig: Rig, files: dict[str, bytes], certificates: Certificates
) -> None:
    with FaultyServer(files, certificates.expired) as server:
        done = update_from(rig, server.url, certificates.settings)
        assert (done.status, done.last["code"]) == (75, "image.store-unavailable"), done.err
        assert "expired" in done.last["message"]
        assert server.requests == []
    rig.untouched()
    rig.restore()
    with FaultyServer(files, certificates.valid) as server:
        done = update_from(rig, server.url, certificates.settings)
        assert done.status == 0, done.err
    assert rig.holds(3)


TRUNCATED: dict[str, str] = {
    "latest": "release.pointer-malformed",
    "release": "release.tampered",
    "signature": "release.signature-malformed",
    "index": "release.index-mismatch",
}


def _whole_looking(body: bytes) -> Action:
    """Half of a body as if it were all: what a cache keeps of a transfer that broke."""
    return status(200, body[: len(body) // 2])


@pytest.mark.parametrize("part", TRUNCATED)
def test_a_proxy_that_takes_half_for_the_whole_is_noticed(
    rig: Rig, files: dict[str, bytes], part: str
) -> None:
    path = LATEST if part == "latest" else getattr(Paths.of(files, 3), part)
    with _proxy(files) as proxy:
        proxy.script(f"{ORIGIN}{path}", *[_whole_looking(files[path])] * 9)
        done = _through(rig, proxy)
    refused(rig, done, 65, TRUNCATED[part])


@pytest.mark.parametrize("part", TRUNCATED)
def test_a_proxy_that_breaks_off_is_asked_again_and_then_given_up(
    rig: Rig, files: dict[str, bytes], part: str
) -> None:
    path = LATEST if part == "latest" else getattr(Paths.of(files, 3), part)
    with _proxy(files) as proxy:
        proxy.script(f"{ORIGIN}{path}", *[truncated(20)] * 99)
        done = _through(rig, proxy)
        assert proxy.count(f"{ORIGIN}{path}") > 1
    refused(rig, done, 75, "image.store-unavailable")


def test_chunks_that_a_proxy_truncates_are_not_written(rig: Rig, files: dict[str, bytes]) -> None:
    with _proxy(files) as proxy:
        for path in chunks_of(files):
            proxy.script(f"{ORIGIN}{path}", *[_whole_looking(files[path])] * 9)
        done = _through(rig, proxy)
    assert (done.status, done.last["code"]) == (69, "image.chunk-invalid"), done.err
    rig.sound()
    rig.finish()


def test_a_proxy_that_breaks_off_once_is_survived(rig: Rig, files: dict[str, bytes]) -> None:
    with _proxy(files) as proxy:
        for path in files:
            proxy.script(f"{ORIGIN}{path}", truncated(20))
        done = _through(rig, proxy)
    assert done.status == 0, done.err
    rig.finish()


def _proxy(files: dict[str, bytes]) -> FaultyServer:
    """Return a forward proxy that has everything of the origin: it is asked by whole URLs."""
    return FaultyServer({f"{ORIGIN}{path}": body for path, body in files.items()})


def _through(rig: Rig, proxy: FaultyServer) -> Run:
    return update_from(rig, ORIGIN, f'proxy = "{proxy.url}"')

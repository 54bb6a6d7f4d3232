# SPDX-License-Identifier: Apache-2.0
"""One file into memory."""

from __future__ import annotations

from dataclasses import replace

import pytest

from images.errors import ImageError, NotAccessible, Refused, StoreUnavailable
from images.fetch import fetch_bytes
from tests.chunk_site import QUICK, http_url
from tests.faulty_server import (
    Action,
    FaultyServer,
    endless,
    hung_up,
    redirected,
    stalled,
    status,
    truncated,
)

pytestmark = pytest.mark.usefixtures("transfer_kind")

BODY = bytes(range(256)) * 400


def get(server: FaultyServer, path: str = "/a.caibx", limit: int = 1 << 20) -> bytes:
    return fetch_bytes(http_url(server.url + path), QUICK, limit)


def test_a_file_is_fetched_as_it_is() -> None:
    with FaultyServer({"/a.caibx": BODY}) as server:
        assert get(server) == BODY
        assert get(server, limit=len(BODY)) == BODY


def test_the_query_is_sent() -> None:
    with FaultyServer({"/a.caibx": BODY}) as server:
        assert get(server, "/a.caibx?q=1/2") == BODY
        assert server.requests[0].path == "/a.caibx?q=1/2"


@pytest.mark.parametrize("fault", [hung_up, status(503), truncated(5000), stalled()])
def test_what_passes_is_tried_again(fault: Action) -> None:
    with FaultyServer({"/a.caibx": BODY}) as server:
        server.script("/a.caibx", fault)
        assert get(server) == BODY
        assert len(server.requests) >= 2


def test_a_redirect_is_followed() -> None:
    with FaultyServer({"/b.caibx": BODY}) as server:
        server.script("/a.caibx", redirected("/b.caibx"))
        assert get(server) == BODY


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        (status(404), NotAccessible),
        (status(401), NotAccessible),
        (status(400), StoreUnavailable),
        (endless(), Refused),
        (endless(announced=True), Refused),
        (status(500), StoreUnavailable),
    ],
)
def test_errors_are_sorted_by_what_to_do(fault: Action, error: type[ImageError]) -> None:
    with FaultyServer() as server:
        server.script("*", fault)
        with pytest.raises(error, match=f"{server.url}/a.caibx: "):
            fetch_bytes(http_url(server.url + "/a.caibx"), replace(QUICK, deadline_s=0.5), 1 << 20)


def test_one_byte_over_the_limit_is_refused() -> None:
    with FaultyServer({"/a.caibx": BODY}) as server, pytest.raises(Refused):
        get(server, limit=len(BODY) - 1)

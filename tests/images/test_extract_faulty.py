# SPDX-License-Identifier: Apache-2.0
"""Extraction from servers that do wrong: right if any store has the chunk, else one clear error."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from images import (
    Chain,
    Event,
    ImageError,
    Index,
    LocalStore,
    Source,
    SourceFailed,
    TargetSpec,
    extract,
    make,
    open_input,
)
from images.errors import ChunkInvalid, ChunkMissing, NotAccessible, StoreUnavailable
from images.stores.http import HttpStore
from tests.chunk_site import QUICK, http_url
from tests.faulty_server import (
    Action,
    FaultyServer,
    corrupted,
    hung_up,
    redirected,
    reset,
    stalled,
    status,
    truncated,
)

pytestmark = pytest.mark.usefixtures("transfer_kind")

FAULTS: dict[str, Action] = {
    "truncated": truncated(100),
    "corrupted": corrupted(50),
    "stalled": stalled(100),
    "404": status(404),
    "429": status(429, Retry_After="60"),
    "500": status(500),
    "503": status(503),
    "403": status(403),
    "closed early": hung_up,
    "reset": reset,
    "redirected in circles": redirected("/castr/again"),
}

ALONE: dict[str, type[ImageError]] = {
    "corrupted": ChunkInvalid,
    "404": ChunkMissing,
    "403": NotAccessible,
}
"""What an extraction ends with where the only store does this; the rest is `StoreUnavailable`."""


@dataclass(frozen=True)
class Site:
    """An image whose chunks a server has."""

    image: bytes
    index: Index
    files: dict[str, bytes]

    def paths(self) -> list[str]:
        return sorted(self.files)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    folder = tmp_path_factory.mktemp("site")
    data = random.Random(21).randbytes(2 << 20)
    (folder / "image").write_bytes(data)
    store = LocalStore(folder / "castr")
    with store.writer() as writer, open_input(folder / "image") as source:
        index = make(source, writer=writer).index
    files = {f"/castr/{p.relative_to(store.path)}": p.read_bytes() for p in store.path.glob("*/*")}
    return Site(data, index, files)


@pytest.fixture
def good(site: Site) -> Iterator[FaultyServer]:
    with FaultyServer(site.files) as server:
        yield server


@pytest.fixture
def bad(site: Site) -> Iterator[FaultyServer]:
    with FaultyServer(site.files) as server:
        yield server


def _store(server: FaultyServer) -> HttpStore:
    return HttpStore(http_url(f"{server.url}/castr"), QUICK)


def _extract(site: Site, folder: Path, *servers: FaultyServer) -> list[SourceFailed]:
    events: list[Event] = []
    stores = Chain([_store(server) for server in servers], on_event=events.append)
    try:
        extract(site.index, TargetSpec(folder / "out"), seeds=[], stores=stores)
    finally:
        stores.close()
    assert (folder / "out").read_bytes() == site.image
    return [event for event in events if isinstance(event, SourceFailed)]


@pytest.mark.parametrize("fault", FAULTS)
def test_a_store_that_always_does_wrong_is_replaced_by_the_next(
    site: Site, good: FaultyServer, bad: FaultyServer, tmp_path: Path, fault: str
) -> None:
    bad.script("*", FAULTS[fault])
    failures = _extract(site, tmp_path, bad, good)
    assert len(failures) == len(site.index)
    assert {failure.source for failure in failures} == {f"{bad.url}/castr"}
    assert len(good.requests) == len(site.index)


@pytest.mark.parametrize("fault", FAULTS)
def test_one_chunk_that_goes_wrong_for_good_is_asked_of_the_next(
    site: Site, good: FaultyServer, bad: FaultyServer, tmp_path: Path, fault: str
) -> None:
    path = site.paths()[3]
    bad.script(path, *[FAULTS[fault]] * 50)
    failures = _extract(site, tmp_path, bad, good)
    if fault == "429":
        # Who asks for a minute's peace gets it: the rest comes from the next store, too.
        assert path in [request.path for request in good.requests]
    else:
        assert [failure.chunk for failure in failures] == [path[-70:-6]]
        assert [request.path for request in good.requests] == [path]


@pytest.mark.parametrize("fault", ["truncated", "stalled", "500", "503", "closed early", "reset"])
def test_what_passes_needs_no_other_store(
    site: Site, bad: FaultyServer, tmp_path: Path, fault: str
) -> None:
    for path in site.paths()[:4]:
        bad.script(path, FAULTS[fault])
    assert _extract(site, tmp_path, bad) == []


@pytest.mark.parametrize("fault", FAULTS)
def test_when_no_store_delivers_there_is_one_clear_error(
    site: Site, bad: FaultyServer, tmp_path: Path, fault: str
) -> None:
    bad.script("*", FAULTS[fault])
    with pytest.raises(ALONE.get(fault, StoreUnavailable), match="castr") as raised:
        _extract(site, tmp_path, bad)
    assert raised.value.hint
    assert f"and {len(site.index) - 1} more chunks" in str(raised.value)
    assert not (tmp_path / "out").exists()


def test_after_the_fault_nothing_is_fetched_twice(
    site: Site, bad: FaultyServer, tmp_path: Path
) -> None:
    lost = site.paths()[5]
    bad.script(lost, *[status(404)] * 1)
    with pytest.raises(ChunkMissing, match=lost[-70:-6]):
        _extract(site, tmp_path, bad)
    before = len(bad.requests)
    stores = Chain([_store(bad)])
    _, report = extract(site.index, TargetSpec(tmp_path / "out"), seeds=[], stores=stores)
    stores.close()
    assert [request.path for request in bad.requests[before:]] == [lost]
    assert report.shares[Source.STORE].chunks == 1

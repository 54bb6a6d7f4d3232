# SPDX-License-Identifier: Apache-2.0
"""An update among neighbours who do wrong ends right, in bounded time and bytes."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from images.index import Index
from images.serve import serve
from tests.updater.agent.conftest import MakeDevice, Published
from tests.updater.device import Device
from tests.updater.peers import neighbours
from tests.updater.peers.neighbours import Body, liar
from tests.updater.running import Run

WASTE_LIMIT = 4 << 20
EXTRA_S = 40.0

REPLIES: dict[str, Body] = {
    "wrong bytes": neighbours.wrong_bytes,
    "bomb": neighbours.bomb,
    "endless": neighbours.endless,
    "dripping": neighbours.dripping,
    "silent": neighbours.silent,
    "reset": neighbours.reset,
    "truncated": neighbours.truncated,
    "missing": neighbours.missing,
    "redirecting": neighbours.redirecting,
}


def update(device: Device, published: Published) -> Run:
    """Update from an origin on the network: local stores come before neighbours."""
    with serve(published.site.folder) as origin:
        return device.run("update", f"{origin.url}/", "--json")


def peers(*addresses: str) -> str:
    given = ", ".join(f'"{address}"' for address in addresses)
    return f"[peers]\nenabled = true\ndiscover = false\nstatic = [{given}]\n"


@pytest.mark.parametrize("name", REPLIES)
def test_who_does_wrong_loses_its_place_and_the_update_ends_right(
    name: str, new_device: MakeDevice, published: Published
) -> None:
    with liar(REPLIES[name]) as one:
        device = new_device(peers(one.address))
        started = time.monotonic()
        report = update(device, published).last
        assert time.monotonic() - started < EXTRA_S
    assert device.holds("B", published.images[2])
    assert report["outcome"] == "activated, boots next"
    (image,) = report["images"]
    assert image["bytes_from_neighbours"] == 0
    (told,) = report["neighbours"]
    assert told["address"] == one.address
    assert told["chunks"] == 0
    assert told["wasted_bytes"] < WASTE_LIMIT
    assert any(".cacnk" in path for path in one.asked)
    if name != "missing":  # there are too few chunks to lose patience with it
        assert told["dropped"] is not None


def test_right_lengths_with_wrong_bytes_are_seen(
    new_device: MakeDevice, published: Published
) -> None:
    index = Index.load(next(published.releases[2].parent.glob("*.caibx")))
    lengths = {id.hex(): end - start for start, end, id in index.chunks()}
    with liar(neighbours.same_length(lengths)) as one:
        device = new_device(peers(one.address))
        report = update(device, published).last
    assert device.holds("B", published.images[2])
    (told,) = report["neighbours"]
    assert told["dropped"] is not None
    assert "digest" in told["dropped"]


def test_who_is_not_there_costs_nothing(new_device: MakeDevice, published: Published) -> None:
    device = new_device(peers("127.0.0.1:9"))
    report = update(device, published).last
    assert device.holds("B", published.images[2])
    assert report["neighbours"] == []


def test_a_crowd_that_does_wrong_in_every_way_at_once(
    new_device: MakeDevice, published: Published
) -> None:
    with (
        liar(neighbours.wrong_bytes) as a,
        liar(neighbours.silent) as b,
        liar(neighbours.truncated) as c,
        liar(neighbours.bomb) as d,
    ):
        device = new_device(peers(a.address, b.address, c.address, d.address))
        report = update(device, published).last
    assert device.holds("B", published.images[2])
    assert sum(told["wasted_bytes"] for told in report["neighbours"]) < 4 * WASTE_LIMIT


def test_broken_checks_would_be_seen(
    new_device: MakeDevice, published: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A chunk that is not digested would end up on the slot; the read-back then ends the update."""
    index = Index.load(next(published.releases[2].parent.glob("*.caibx")))
    lengths = {id.hex(): end - start for start, end, id in index.chunks()}
    accept: Callable[..., None] = lambda *_: None  # noqa: E731
    monkeypatch.setattr("images.stores.decoding.check_id", accept)
    with liar(neighbours.same_length(lengths)) as one:
        device = new_device(peers(one.address))
        done = update(device, published)
    assert done.status != 0
    assert not device.holds("B", published.images[2])

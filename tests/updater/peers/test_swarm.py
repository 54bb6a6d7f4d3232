# SPDX-License-Identifier: Apache-2.0
"""A site downloads each chunk once: real agents, a real network, an origin that counts bytes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.updater.peers.lan import lan
from tests.updater.peers.site import Fleet, finish, join, serving

pytestmark = [pytest.mark.root, pytest.mark.timeout(600)]

MOST_RATIO = 1.15
"""Of the origin's bytes for many devices to those for one."""


def test_eight_devices_at_once_cost_the_origin_one_update(fleet: Fleet, tmp_path: Path) -> None:
    with lan() as network:
        origin = network.join()
        origin.limit("20mbit")
        with serving(origin, fleet) as url:
            before = origin.sent_bytes()
            alone = join(fleet, tmp_path / "alone", network.join(), url)
            (report,) = finish([alone.start("update")])
            one = origin.sent_bytes() - before
            assert alone.holds(fleet.images[2])
            assert report["neighbours"] == []

            members = [join(fleet, tmp_path / f"d{n}", network.join(), url) for n in range(8)]
            before = origin.sent_bytes()
            reports = finish([member.start("update") for member in members])
            eight = origin.sent_bytes() - before
            assert all(member.holds(fleet.images[2]) for member in members)
            print(one, eight, eight / one, report["seconds"], [r["seconds"] for r in reports])
            assert eight < MOST_RATIO * one
            given = sum(image["bytes_from_neighbours"] for r in reports for image in r["images"])
            assert given > 5 * one

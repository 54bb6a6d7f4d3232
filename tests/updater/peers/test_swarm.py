# SPDX-License-Identifier: Apache-2.0
"""A site downloads each chunk once: real agents, a real network, an origin that counts bytes."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.updater.faults.machine import Fault, build_library, met
from tests.updater.peers.lan import Lan, lan
from tests.updater.peers.site import Fleet, Member, finish, join, serving

pytestmark = [pytest.mark.root, pytest.mark.timeout(600)]

MOST_RATIO = 1.15
"""Of the origin's bytes for many devices to those for one."""

LINK = "8mbit"
"""A slow mobile link. `python -m bench.swarm` has a faster one; there the processors, which eight
devices share here and in the field do not, decide how soon they hear of each other."""

YEAR_S = 365 * 24 * 3600
CHANGED = 12 << 20
"""Bytes of the new release that no device has; they cannot be compressed."""


def members(
    fleet: Fleet, folder: Path, network: Lan, url: str, count: int, *more: str
) -> list[Member]:
    return [join(fleet, folder / f"d{n}", network.join(), url, *more) for n in range(count)]


def until_fetching(run: subprocess.Popen[str]) -> None:
    """Read events until the update brings chunks."""
    assert run.stdout is not None
    for line in run.stdout:
        event = json.loads(line)
        if event["event"] == "progress" and event["phase"] == "assemble" and event["done"]:
            return
    raise AssertionError("it has ended")


def test_eight_devices_at_once_cost_the_origin_one_update(fleet: Fleet, tmp_path: Path) -> None:
    with lan() as network:
        origin = network.join()
        origin.limit(LINK)
        with serving(origin, fleet) as url:
            before = origin.sent_bytes()
            (alone,) = members(fleet, tmp_path / "one", network, url, 1)
            (report,) = finish([alone.start("update")])
            one = origin.sent_bytes() - before
            assert alone.holds(fleet.images[2])
            assert (report["neighbours"], one > CHANGED) == ([], True)

            assert update_eight(fleet, tmp_path / "eight", network, url) < MOST_RATIO * one


def test_devices_one_after_the_other_cost_the_origin_one_update(
    fleet: Fleet, tmp_path: Path
) -> None:
    with lan() as network:
        origin = network.join()
        origin.limit(LINK)
        with serving(origin, fleet) as url:
            runs = []
            before = origin.sent_bytes()
            staggered = members(fleet, tmp_path, network, url, 8)
            for member in staggered:
                runs.append(member.start("update"))
                until_fetching(runs[-1])
            finish(runs)
            assert all(member.holds(fleet.images[2]) for member in staggered)
            assert CHANGED < origin.sent_bytes() - before < MOST_RATIO * CHANGED


def update_eight(fleet: Fleet, folder: Path, network: Lan, url: str) -> int:
    """Update eight devices at once; return what left the origin."""
    origin = network.hosts[0]
    eight = members(fleet, folder, network, url, 8)
    before = origin.sent_bytes()
    reports = finish([member.start("update") for member in eight])
    sent = origin.sent_bytes() - before
    assert all(member.holds(fleet.images[2]) for member in eight)
    given = sum(image["bytes_from_neighbours"] for r in reports for image in r["images"])
    assert given > 5 * CHANGED
    return sent


def test_one_that_is_killed_and_one_that_is_cut_off_change_nothing(
    fleet: Fleet, tmp_path: Path
) -> None:
    with lan() as network:
        origin = network.join()
        origin.limit(LINK)
        with serving(origin, fleet) as url:
            four = members(fleet, tmp_path / "four", network, url, 4)
            runs = [member.start("update") for member in four]
            until_fetching(runs[0])
            runs[0].kill()
            runs[0].communicate(timeout=30)
            # One half of the network does not see the other, nor the origin, for a while.
            until_fetching(runs[1])
            network.split([four[1].host], apart=True)
            until_fetching(runs[2])
            network.split([four[1].host], apart=False)
            finish(runs[1:])
            assert all(member.holds(fleet.images[2]) for member in four[1:])
            # And the killed one goes on, with what it has and what the others have.
            before = origin.sent_bytes()
            with four[3].host.start(*four[3].command("peer"), "--json") as giving:
                assert giving.stdout is not None
                assert json.loads(giving.stdout.readline())["images"] == 2
                finish([four[0].start("update")])
                giving.terminate()
            assert four[0].holds(fleet.images[2])
            assert origin.sent_bytes() - before < CHANGED // 2


def test_a_clock_that_is_years_behind_changes_nothing(fleet: Fleet, tmp_path: Path) -> None:
    jump = Fault("read", "/config.toml", "clock", -10 * YEAR_S)
    log = tmp_path / "met"
    wrong = [f"{k}={v}" for k, v in jump.environment(build_library(tmp_path), log).items()]
    with lan() as network:
        origin = network.join()
        origin.limit(LINK)
        with serving(origin, fleet) as url:
            before = origin.sent_bytes()
            two = members(fleet, tmp_path, network, url, 2)
            behind = two[0].host.start("env", *wrong, *two[0].command("update"), "--json")
            reports = finish([behind, two[1].start("update")])
            assert met(log)
            assert all(member.holds(fleet.images[2]) for member in two)
            assert all(report["images"][0]["bytes_from_neighbours"] for report in reports)
            assert CHANGED < origin.sent_bytes() - before < MOST_RATIO * CHANGED


def test_ipv6_only_with_a_secret_and_who_does_not_know_it(fleet: Fleet, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("a secret of this site")
    with lan(ipv4=False) as network:
        origin = network.join()
        origin.limit(LINK)
        with serving(origin, fleet, ipv6=True) as url:
            inside = members(fleet, tmp_path / "in", network, url, 2, f'secret = "{secret}"')
            (outside,) = members(fleet, tmp_path / "out", network, url, 1)
            reports = finish([member.start("update") for member in (*inside, outside)])
            assert all(member.holds(fleet.images[2]) for member in (*inside, outside))
            given = [report["images"][0]["bytes_from_neighbours"] for report in reports]
            assert sum(given[:2]) > CHANGED // 2
            assert given[2] == 0
            assert all("[f" in one["address"] for one in reports[0]["neighbours"])


def test_without_multicast_peers_are_given(fleet: Fleet, tmp_path: Path) -> None:
    with lan() as network:
        origin = network.join()
        with serving(origin, fleet) as url:
            (first,) = members(
                fleet, tmp_path / "a", network, url, 1, "discover = false", "port = 4747"
            )
            finish([first.start("update")])
            with first.host.start(*first.command("peer"), "--json") as giving:
                assert giving.stdout is not None
                told = json.loads(giving.stdout.readline())
                while told["event"] != "giving":  # what the update left behind gives for a while
                    told = json.loads(giving.stdout.readline())
                assert told["port"] == 4747
                given = f'static = ["{first.host.address}:4747"]'
                (second,) = members(
                    fleet, tmp_path / "b", network, url, 1, "discover = false", given
                )
                before = origin.sent_bytes()
                (report,) = finish([second.start("update")])
                giving.terminate()
            assert second.holds(fleet.images[2])
            assert origin.sent_bytes() - before < CHANGED // 8
            (one,) = report["neighbours"]
            assert one["bytes"] > CHANGED * 7 // 8

# SPDX-License-Identifier: Apache-2.0
"""New keys come with a release that old and new ones signed, and count once it has proved good."""

from __future__ import annotations

from pathlib import Path

from tests.updater.agent.conftest import Published
from tests.updater.device import Device, Site, make_site
from tests.updater.running import Caflip


def test_new_keys_count_after_the_proof_and_old_ones_no_longer(
    device: Device, own_channel: Site, published: Published, caflip: Caflip, tmp_path: Path
) -> None:
    successor = make_site(tmp_path.parent / "successor", caflip)
    release = own_channel.publish(
        caflip,
        published.images[2],
        "2.0",
        f"--trust-keyring={successor.keyring}",
        "--trust-version=1",
    )
    refused = device.run("update", release, "--json")
    assert refused.last["code"] == "release.rotation-refused"
    signed = caflip(
        *("release", "make", f"--add-signature={release}"),
        *(f"--sign-with={successor.fingerprint}", f"--gnupg-home={successor.home}"),
    )
    assert signed.status == 0, signed.err
    device.must("update", release)
    by_new = successor.publish(caflip, published.images[3], "3.0", "--sequence=9")

    # Not proved yet: a fallback would leave the old keys in force.
    before = device.run("check", by_new, "--json")
    assert before.last["code"] == "release.wrong-key"
    device.boot()
    device.must("health", running="B")
    assert device.must("status", "--json", running="B").last["trust_version"] == 1
    old = device.run("update", published.releases[3], "--json", running="B")
    assert old.last["code"] == "release.wrong-key"
    device.must("update", by_new, running="B")
    assert device.holds("A", published.images[3])


def test_a_fallback_leaves_the_old_keys_in_force(
    device: Device, own_channel: Site, published: Published, caflip: Caflip, tmp_path: Path
) -> None:
    successor = make_site(tmp_path.parent / "successor-2", caflip)
    release = own_channel.publish(
        caflip,
        published.images[2],
        "2.0",
        f"--trust-keyring={successor.keyring}",
        "--trust-version=1",
    )
    caflip(
        *("release", "make", f"--add-signature={release}"),
        *(f"--sign-with={successor.fingerprint}", f"--gnupg-home={successor.home}"),
    )
    device.must("update", release)
    assert [device.boot() for _ in range(4)] == ["B", "B", "B", "A"]
    device.must("health")
    assert device.must("status", "--json").last["trust_version"] == 0
    device.must("update", published.releases[3])

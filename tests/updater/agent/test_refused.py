# SPDX-License-Identifier: Apache-2.0
"""What must not be installed: each has its own code, and leaves every byte as it was."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from tests.updater.agent.conftest import Published
from tests.updater.device import MIB, Device, Site, make_image, make_site
from tests.updater.running import Caflip, Run

Break = Callable[[Site, Published, Caflip, Path], Path]


def _unsigned(site: Site, published: Published, caflip: Caflip, folder: Path) -> Path:
    (site.folder / "v2/release.json.asc").unlink()
    return site.folder


def _wrong_key(site: Site, published: Published, caflip: Caflip, folder: Path) -> Path:
    # A short path: the sockets of gpg-agent are in it, and unix(7) allows 108 bytes.
    stranger = make_site(folder.parent / "stranger", caflip)
    return stranger.publish(caflip, published.images[2], "2.0")


def _tampered(site: Site, published: Published, caflip: Caflip, folder: Path) -> Path:
    path = site.folder / "v2/release.json"
    path.write_bytes(path.read_bytes().replace(b'"2.0"', b'"2.1"'))
    return site.folder


def _tampered_index(site: Site, published: Published, caflip: Caflip, folder: Path) -> Path:
    (index,) = (site.folder / "v2").glob("*.caibx")
    data = bytearray(index.read_bytes())
    data[200] ^= 1
    index.write_bytes(data)
    return site.folder


def _mixed(site: Site, published: Published, caflip: Caflip, folder: Path) -> Path:
    (index,) = (site.folder / "v2").glob("*.caibx")
    (other,) = (site.folder / "v1").glob("*.caibx")
    shutil.copy(other, index)
    return site.folder


def _expired(site: Site, published: Published, caflip: Caflip, folder: Path) -> Path:
    release = site.publish(caflip, published.images[2], "2.0", "--expires=1h")
    return release


def _other_device(site: Site, published: Published, caflip: Caflip, folder: Path) -> Path:
    return site.publish(caflip, published.images[2], "2.0", "--variant=other")


def _too_large(site: Site, published: Published, caflip: Caflip, folder: Path) -> Path:
    return site.publish(caflip, make_image(folder / "large.img", 5, 16 * MIB), "2.0")


def _unknown_format(site: Site, published: Published, caflip: Caflip, folder: Path) -> Path:
    path = site.folder / "v2/release.json"
    path.write_bytes(path.read_bytes().replace(b"caflip-release-1", b"caflip-release-9"))
    _sign(site, path)
    return site.folder


def _endless(site: Site, published: Published, caflip: Caflip, folder: Path) -> Path:
    os.truncate(site.folder / "v2/release.json", 1 << 30)
    return site.folder


def _sign(site: Site, path: Path) -> None:
    import subprocess

    signature = path.with_name(f"{path.name}.asc")
    signature.unlink(missing_ok=True)
    subprocess.run(
        [
            *("gpg", "--batch", "--homedir", site.home, "--detach-sign", "--armor"),
            *("--local-user", site.fingerprint, "--output", signature, path),
        ],
        check=True,
        capture_output=True,
        timeout=60,
    )


CASES: dict[str, Break] = {
    "release.unsigned": _unsigned,
    "release.wrong-key": _wrong_key,
    "release.tampered": _tampered,
    "release.index-mismatch": _tampered_index,
    "release.incompatible": _other_device,
    "release.image-too-large": _too_large,
    "release.format-unknown": _unknown_format,
    "release.too-long": _endless,
}


@pytest.mark.parametrize("code", CASES)
def test_nothing_is_written(
    code: str,
    device: Device,
    own_channel: Site,
    published: Published,
    caflip: Caflip,
    tmp_path: Path,
) -> None:
    location = CASES[code](own_channel, published, caflip, tmp_path)
    _refused(device, code, lambda: device.run("update", location, "--json"))


def test_an_index_of_another_release_is_refused(
    device: Device, own_channel: Site, published: Published, caflip: Caflip, tmp_path: Path
) -> None:
    location = _mixed(own_channel, published, caflip, tmp_path)
    _refused(device, "release.index-mismatch", lambda: device.run("update", location, "--json"))


def test_a_slot_that_is_not_what_the_release_says_is_not_activated(
    device: Device, own_channel: Site, published: Published
) -> None:
    path = own_channel.folder / "v2/release.json"
    uuid = b"ca5f11b0-0000-4000-8000-000000000002"
    other = b"ca5f11b0-0000-4000-8000-00000000000f"
    data = path.read_bytes()
    assert uuid in data
    path.write_bytes(data.replace(uuid, other))
    _sign(own_channel, path)
    done = device.run("update", own_channel.folder, "--json")
    assert (done.status, done.last["code"]) == (65, "release.image-mismatch")
    assert device.holds("B", published.images[2])
    assert device.boot_state().next == "A"


def test_an_older_release_is_refused_also_by_hand(device: Device, published: Published) -> None:
    device.must("update")
    device.boot()
    device.must("health", running="B")
    for verb in ("update", "install"):
        run = partial(device.run, verb, published.releases[1], "--json", running="B")
        _refused(device, "release.rollback", run)


def test_an_expired_release_is_refused(
    device: Device,
    own_channel: Site,
    published: Published,
    caflip: Caflip,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from datetime import UTC, datetime, timedelta

    from updater.releases.clock import SystemClock

    release = own_channel.publish(caflip, published.images[2], "2.0", "--expires=1h")
    later = datetime.now(UTC) + timedelta(hours=2)
    monkeypatch.setattr(SystemClock, "now", lambda self: later)
    _refused(device, "release.expired", lambda: device.run("update", release, "--json"))


def _refused(device: Device, code: str, run: Callable[[], Run]) -> None:
    before = device.everything()
    state = _files(device.folder / "state")
    done = run()
    assert (done.status, done.last["code"]) == (65, code), done.err
    assert done.err
    assert device.everything() == before
    assert _files(device.folder / "state") == state


def _files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "lock"}

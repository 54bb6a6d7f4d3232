# SPDX-License-Identifier: Apache-2.0
"""A signed channel for the session, and a device for each test: slot A holds release 1 and runs."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import pytest

from tests.capabilities import require_tool
from tests.updater.device import Device, Site, make_device, make_image, make_site
from tests.updater.running import Caflip, Run, run_process


@dataclass(frozen=True, slots=True)
class Published:
    """A channel with three releases; its pointer names the second.

    Attributes:
        images, releases: by number, from 1.
    """

    site: Site
    images: dict[int, Path]
    releases: dict[int, Path]


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Published]:
    require_tool("gpg", "mkfs.ext4", "fw_setenv")
    folder = tmp_path_factory.mktemp("published")

    def caflip(*arguments: str | Path) -> Run:
        return run_process(*arguments)

    site = make_site(folder / "site", caflip)
    images = {n: make_image(folder / f"v{n}.img", n) for n in (1, 2, 3)}
    releases = {}
    for number, image in images.items():
        hold = ("--hold",) if number == 3 else ()
        releases[number] = site.publish(caflip, image, f"{number}.0", *hold)
    yield Published(site, images, releases)
    # What tests signed with gpg itself left an agent behind.
    subprocess.run(
        ["gpgconf", "--homedir", site.home, "--kill", "gpg-agent"], check=True, timeout=30
    )


MakeDevice: TypeAlias = Callable[..., Device]


@pytest.fixture
def new_device(
    tmp_path: Path, published: Published, caflip: Caflip, monkeypatch: pytest.MonkeyPatch
) -> MakeDevice:
    """Make a device with more text in its configuration; slot A holds release 1, proved good."""

    def make(*more: str) -> Device:
        made = make_device(tmp_path / "device", published.site, caflip, *more)
        monkeypatch.setattr("updater.agent.opening.read_boot_id", made.boot_id.read_text)
        made.must("install", published.releases[1], "--slot=A", "--provision", running="none")
        return made

    return make


@pytest.fixture
def device(new_device: MakeDevice) -> Device:
    """Slot A holds release 1, proved good; slot B holds nothing."""
    return new_device()


@pytest.fixture
def own_channel(tmp_path: Path, published: Published) -> Site:
    """A copy of the channel that the test may damage."""
    copy = tmp_path / "channel"
    shutil.copytree(published.site.folder, copy)
    site = published.site
    return Site(copy, site.home, site.fingerprint, site.keyring)

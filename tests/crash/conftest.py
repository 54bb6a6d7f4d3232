# SPDX-License-Identifier: Apache-2.0
"""A channel for the session, and a device for each bootloader."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.capabilities import require_tool
from tests.crash.loaders import LOADERS, Loader
from tests.crash.rig import Channel, Recording, Rig, make_channel, record_update


@pytest.fixture(scope="session")
def channel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Channel]:
    require_tool("gpg")
    made = make_channel(tmp_path_factory.mktemp("crash") / "site")
    yield made
    command = ["gpgconf", "--homedir", str(made.site.home), "--kill", "gpg-agent"]
    subprocess.run(command, check=True, timeout=30)


@pytest.fixture(params=LOADERS, ids=[loader.name for loader in LOADERS])
def loader(request: pytest.FixtureRequest) -> Loader:
    found: Loader = request.param
    return found


@pytest.fixture
def rig(tmp_path: Path, channel: Channel, loader: Loader) -> Rig:
    """A device that runs release 1."""
    return Rig(tmp_path / "device", loader, channel).make()


@pytest.fixture
def updated(rig: Rig) -> Recording:
    """Its whole update to release 2."""
    return record_update(rig)

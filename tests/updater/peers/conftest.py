# SPDX-License-Identifier: Apache-2.0
"""A fleet for the session."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.capabilities import require_module, require_root, require_tool
from tests.updater.agent.conftest import new_device, published
from tests.updater.peers.site import Fleet, make_fleet

__all__ = ["new_device", "published"]


@pytest.fixture(scope="session")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    require_root()
    require_module("zeroconf")
    require_tool("ip", "tc", "gpg", "mkfs.ext4", "fw_setenv")
    folder: Path = tmp_path_factory.mktemp("fleet")
    return make_fleet(folder)

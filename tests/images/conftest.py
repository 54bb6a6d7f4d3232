# SPDX-License-Identifier: Apache-2.0
"""Fixtures for everything that talks HTTP."""

from __future__ import annotations

import os
import sys

import pytest

from tests.capabilities import require_module


@pytest.fixture(params=["pycurl", "requests"])
def transfer_kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run the test with each library, in an environment without proxies."""
    kind: str = request.param
    require_module(kind)
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    if kind == "requests":
        monkeypatch.setitem(sys.modules, "pycurl", None)
    return kind

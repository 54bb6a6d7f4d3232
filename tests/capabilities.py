# SPDX-License-Identifier: Apache-2.0
"""What a test needs of the machine, and what happens when it is missing.

A missing capability skips the test and is named. Under `CI=true` a tool or module that could have
been installed is a failure instead: a green run then proves everything.
"""

from __future__ import annotations

import importlib.util
import os
import shutil

import pytest


def _missing(what: str) -> None:
    if os.environ.get("CI") == "true":
        pytest.fail(f"missing under CI: {what}")
    pytest.skip(f"missing: {what}")


def require_tool(*names: str) -> None:
    """Skip, or fail under CI, unless every program is on the PATH."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    for name in names:
        if shutil.which(name, path=path) is None:
            _missing(f"program {name}")


def require_module(name: str) -> None:
    """Skip, or fail under CI, unless the Python module can be imported."""
    if importlib.util.find_spec(name) is None:
        _missing(f"Python module {name}")


def require_root() -> None:
    """Skip unless running as root."""
    if os.geteuid() != 0:
        pytest.skip("missing: root")


def require_loop_devices() -> None:
    """Skip unless loop devices can be set up: root and /dev/loop-control."""
    require_root()
    if not os.path.exists("/dev/loop-control"):
        pytest.skip("missing: loop devices (/dev/loop-control)")

# SPDX-License-Identifier: Apache-2.0
"""What `import images` offers, and that it loads nothing that is not used."""

from __future__ import annotations

import subprocess
import sys

import pytest

import images


def test_every_public_name_is_there() -> None:
    assert images.__all__ == sorted(images.__all__, key=lambda name: (name[0].islower(), name))
    assert set(images.__all__) == set(images._HOMES)
    for name in images.__all__:
        value = getattr(images, name)
        assert value is getattr(sys.modules[f"images.{images._HOMES[name]}"], name)
        assert name in dir(images)


def test_what_is_not_public_is_not_there() -> None:
    with pytest.raises(AttributeError, match="nonsense"):
        _ = images.nonsense  # type: ignore[attr-defined]


def test_a_name_loads_its_own_module_and_no_other() -> None:
    program = "import sys, images; images.Digest; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert "images.digests" in done.stdout.split()
    assert not {"images.assembly", "images.stores.local"} & {*done.stdout.split()}

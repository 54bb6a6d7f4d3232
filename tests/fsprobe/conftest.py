# SPDX-License-Identifier: Apache-2.0
"""Small real images of every kind, made once in a session."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fsprobe import container_images, linux_images

BUILDERS: tuple[Callable[[Path], dict[str, Path]], ...] = (
    linux_images.build,
    container_images.build,
)
"""Each makes images in an empty folder of its own and returns them by name."""


@pytest.fixture(scope="session")
def sample_images(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Read-only images by name: to change one, copy it."""
    images: dict[str, Path] = {}
    for build in BUILDERS:
        images |= build(tmp_path_factory.mktemp("images"))
    return images

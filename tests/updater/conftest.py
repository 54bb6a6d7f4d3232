# SPDX-License-Identifier: Apache-2.0
"""A clean environment, caflip as a function, and a published image."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.updater.running import Caflip, Run, content
from updater.cli import main


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("CASYNC_", "CAFLIP_", "NOTIFY_", "WATCHDOG_")) or (
            name.lower().endswith("_proxy")
        ):
            monkeypatch.delenv(name)


@pytest.fixture
def caflip(capfdbinary: pytest.CaptureFixture[bytes]) -> Caflip:
    """Run caflip in this process."""

    def run(*arguments: str | Path, program: str = "caflip") -> Run:
        capfdbinary.readouterr()
        status = main([str(argument) for argument in arguments], program)
        out, err = capfdbinary.readouterr()
        return Run(status, out, err.decode())

    return run


@dataclass(frozen=True, slots=True)
class Published:
    """An image, its index and its store."""

    folder: Path
    image: Path
    index: Path
    store: Path
    data: bytes


@pytest.fixture
def published(tmp_path: Path, caflip: Caflip) -> Published:
    folder = tmp_path / "site"
    folder.mkdir()
    data = content(1 << 20) + bytes(1 << 20) + content(300_000, seed=1)
    image = folder / "image.img"
    image.write_bytes(data)
    made = caflip("make", folder / "image.caibx", image)
    assert made.status == 0, made.err
    return Published(folder, image, folder / "image.caibx", folder / "default.castr", data)

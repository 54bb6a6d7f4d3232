# SPDX-License-Identifier: Apache-2.0
"""Keys for the session, and a watch over what gpg leaves behind."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.capabilities import require_tool
from tests.updater.releases.signing_keys import SigningKeys


@pytest.fixture(scope="session")
def keys() -> Iterator[SigningKeys]:
    require_tool("gpg", "gpgconf")
    made = SigningKeys()
    yield made
    made.close()


@pytest.fixture(autouse=True)
def nothing_is_left(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Path]:
    """Give the test its own folder for temporary files, and fail if it leaves some, or an agent."""
    tmp_path_factory.getbasetemp()  # else pytest would make its own in there
    with tempfile.TemporaryDirectory(prefix="cf-") as folder:
        monkeypatch.setattr(tempfile, "tempdir", folder)
        yield Path(folder)
        assert list(Path(folder).iterdir()) == []
        assert agents_below(folder) == []


def agents_below(folder: str | Path) -> list[str]:
    """Return the command lines of GnuPG's daemons that have a home below a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (
                (process / "cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
            )
        except OSError:
            continue
        if f"{folder}/" in line and ("gpg-agent" in line or "scdaemon" in line):
            found.append(line)
    return found

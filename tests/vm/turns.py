# SPDX-License-Identifier: Apache-2.0
"""Releases without end of two systems, so that each changes what its slot holds.

    release   1   2   3   4   5   6   7
    system    v1  v2  v2  v1  v1  v2  v2
    slot      A   B   A   B   A   B   A

Every other one comes from the network, the rest from the running slot.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from images.index import Index
from tests.updater.running import run_process
from tests.vm.channel import Channel
from tests.vm.rootfs import Version

CHUNKS = "default.castr"


def version_of(sequence: int) -> Version:
    """Return the system that a release has; see the table above."""
    return Version.V2 if sequence // 2 % 2 else Version.V1


def slot_of(sequence: int) -> str:
    """Return the slot that a release goes to."""
    return "A" if sequence % 2 else "B"


class Releases:
    """A channel that publishes a release when it is first asked for."""

    def __init__(self, channel: Channel, folder: Path) -> None:
        """Make a copy that can grow, in a new folder; the chunks stay where they are."""
        self.folder = folder / "site"
        self._home = folder / "gnupg"
        self._fingerprint = channel.site.fingerprint
        origin = channel.site.folder
        shutil.copytree(origin, self.folder, ignore=shutil.ignore_patterns(CHUNKS))
        (self.folder / CHUNKS).symlink_to(origin / CHUNKS)
        shutil.copytree(channel.site.home, self._home, ignore=shutil.ignore_patterns("S.*"))
        self._home.chmod(0o700)
        self._made = {1: self.folder / "v1", 2: self.folder / "v2"}

    def name(self, sequence: int) -> str:
        """Return the path of a release below the folder that is served."""
        return f"{self._folder_of(sequence).name}/release.json"

    def index(self, sequence: int) -> Index:
        """Return the index of the image of a release."""
        (path,) = self._folder_of(sequence).glob("*.caibx")
        return Index.load(path)

    def _folder_of(self, sequence: int) -> Path:
        if sequence not in self._made:
            version = version_of(sequence).value
            made = run_process(
                *("release", "make", self.folder, "--json", f"--sequence={sequence}"),
                f"--again={self.folder / version / 'release.json'}",
                *(f"--version={version}-{sequence}", f"--gnupg-home={self._home}"),
                f"--sign-with={self._fingerprint}",
            )
            assert made.status == 0, made.err
            self._made[sequence] = Path(made.last["path"]).parent
        return self._made[sequence]

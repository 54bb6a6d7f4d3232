# SPDX-License-Identifier: Apache-2.0
"""Devices on a local network, and an origin that counts what leaves it."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.updater.device import MIB, Site, make_device, make_site
from tests.updater.peers.lan import Host
from tests.updater.running import COMMAND, run_process

SLOT_BYTES = 40 * MIB
IMAGE_BYTES = 32 * MIB
PLACES = {"A": MIB, "B": MIB + SLOT_BYTES}
UPDATE_S = 240.0
PORT = 8080


@dataclass(frozen=True, slots=True)
class Fleet:
    """What devices are made of.

    Attributes:
        template: a device whose slot A holds release 1, proved good.
        images: by version.
    """

    site: Site
    template: Path
    images: dict[int, Path]


@dataclass(frozen=True, slots=True)
class Member:
    """A device on a host."""

    folder: Path
    host: Host

    def command(self, *arguments: str) -> list[str]:
        """Return the command line of one of its verbs."""
        return [*COMMAND, *arguments, f"--config={self.folder / 'config.toml'}", "--running=A"]

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start a verb."""
        return self.host.start(*self.command(*arguments), "--json")

    def holds(self, image: Path) -> bool:
        """Whether slot B begins with an image."""
        content = image.read_bytes()
        with (self.folder / "disk.img").open("rb") as file:
            file.seek(PLACES["B"])
            return file.read(len(content)) == content


def make_fleet(folder: Path) -> Fleet:
    """Publish two releases of which half differs, and make the template."""
    site = make_site(folder / "site", run_process)
    same = random.Random(1).randbytes(IMAGE_BYTES // 2)
    images, releases = {}, {}
    for number in (1, 2):
        image = images[number] = folder / f"v{number}.img"
        tree = folder / f"tree{number}"
        tree.mkdir()
        (tree / "same").write_bytes(same)
        (tree / "new").write_bytes(random.Random(10 + number).randbytes(12 * MIB))
        with image.open("wb") as file:
            file.truncate(IMAGE_BYTES)
        subprocess.run(
            ["mkfs.ext4", "-q", "-F", "-m", "0", "-O", "^has_journal", "-d", tree, image],
            check=True,
            timeout=60,
        )
        releases[number] = site.publish(run_process, image, f"v{number}", f"--sequence={number}")
    regions = {name: f"disk.img@{at}+{SLOT_BYTES}" for name, at in PLACES.items()}
    made = make_device(folder / "template", site, run_process, slots=regions)
    with made.disk.open("r+b") as file:
        file.truncate(PLACES["B"] + SLOT_BYTES + MIB)
    made.must("install", releases[1], "--slot=A", "--provision", running="none")
    return Fleet(site, made.folder, images)


def join(fleet: Fleet, folder: Path, host: Host, origin: str, *more: str) -> Member:
    """Put a copy of the template onto a host.

    Args:
        fleet: of which it is one.
        folder: for it; is made.
        host: where it runs.
        origin: URL of the channel.
        more: lines of its `[peers]` table.
    """
    shutil.copytree(fleet.template, folder)
    for name in ("fw_env.config", "config.toml"):
        text = (folder / name).read_text().replace(str(fleet.template), str(folder))
        (folder / name).write_text(text)
    text = (folder / "config.toml").read_text()
    text = text.replace(f'url = "{fleet.site.folder}"', f'url = "{origin}"')
    lines = "".join(f"{line}\n" for line in ("enabled = true", *more))
    (folder / "config.toml").write_text(f"{text}\n[peers]\n{lines}")
    return Member(folder, host)


@contextmanager
def serving(host: Host, fleet: Fleet, *, ipv6: bool = False) -> Iterator[str]:
    """Serve the channel on a host; give its URL."""
    address = f"[{host.address6}]" if ipv6 else host.address
    with host.start(
        *(sys.executable, "-m", "updater", "serve", fleet.site.folder),
        f"--listen={address}:{PORT}",
        errors=subprocess.DEVNULL,
    ) as server:
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        try:
            yield f"{url}/"
        finally:
            server.terminate()


def finish(runs: Sequence[subprocess.Popen[str]]) -> list[dict[str, Any]]:
    """Wait for updates to end well; return their reports."""
    reports = []
    for run in runs:
        out, err = run.communicate(timeout=UPDATE_S)
        assert run.returncode == 0, (out[-2000:], err)
        reports.append(json.loads(out.splitlines()[-1]))
    return reports

# SPDX-License-Identifier: Apache-2.0
"""A signed channel with both versions of a guest's root, and a web server that counts."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.updater.device import Site, make_site
from tests.updater.running import environment, run_process
from tests.vm.architecture import Architecture
from tests.vm.cache import cached
from tests.vm.devices import image
from tests.vm.rootfs import Version

COMPATIBLE = "test-device"


@dataclass(frozen=True, slots=True)
class Channel:
    """What is published.

    Attributes:
        images: by version.
    """

    site: Site
    images: dict[Version, Path]


def published(architecture: Architecture) -> Channel:
    """Return a channel with both versions for an architecture; it must not change."""
    versions = {version: image(architecture, version) for version in (Version.V1, Version.V2)}

    def build(folder: Path) -> None:
        folder.mkdir()
        site = make_site(folder / "site", run_process)
        for number, (version, path) in enumerate(versions.items(), 1):
            site.publish(run_process, path, version.value, f"--sequence={number}")
        (folder / "fingerprint").write_text(site.fingerprint)

    recipe = ["1", *(str(path) for path in versions.values())]
    folder = cached(f"channel-{architecture.value}", recipe, build)
    site = Site(
        folder / "site/channel",
        folder / "site/gnupg",
        (folder / "fingerprint").read_text(),
        folder / "site/trusted.gpg",
    )
    return Channel(site, versions)


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder to guests; give the URL that they see."""
    with subprocess.Popen(
        [sys.executable, "-m", "updater", "serve", str(folder), "--listen=127.0.0.1:0"],
        stdout=subprocess.PIPE,
        env=environment(),
        text=True,
    ) as server:
        assert server.stdout is not None
        try:
            match = re.search(r":(\d+)/?$", server.stdout.readline().strip())
            assert match is not None
            yield f"http://10.0.2.2:{match[1]}"
        finally:
            server.terminate()


def configuration(channel: Channel, url: str, bootloader: str, names: tuple[str, str]) -> str:
    """Return a guest's configuration.

    Args:
        channel: for its key.
        url: of the channel, as the guest sees it.
        bootloader: lines of its table.
        names: the bootloader's names of the slots on root-a and root-b.
    """
    slots = "".join(
        f'[[slot]]\nname = "root-{letter}"\ndevice = "PARTLABEL=root-{letter}"\nboot = "{name}"\n'
        for letter, name in zip("ab", names, strict=True)
    )
    return f"""compatible = "{COMPATIBLE}"
[channel]
url = "{url}/"
[trust]
keyring = "trusted.asc"
fingerprints = ["{channel.site.fingerprint}"]
[bootloader]
{bootloader}
[update]
tries = 2
[health]
commands = [["/bin/sh", "-c", "[ ! -e /data/sick ]"]]
attempts = 1
{slots}"""


def keyring_text(channel: Channel) -> str:
    """Return the trusted keyring as text, for files of a data partition."""
    command = ["gpg", "--enarmor", "--output", "-", str(channel.site.keyring)]
    return subprocess.run(
        command, check=True, capture_output=True, text=True, timeout=30
    ).stdout.replace("PGP ARMORED FILE", "PGP PUBLIC KEY BLOCK")

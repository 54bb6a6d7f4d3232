# SPDX-License-Identifier: Apache-2.0
"""One A/B update from the signing key to the proof after the boot, narrated; `make demo` runs it.

Two states of a small Debian root (the point release, then with security updates) are built once
and kept in `.demo`. They are published as signed releases; a disk image gets the first one in slot
A, and is updated to the second over HTTP. Neither root nor a loop device is needed. The bootloader
is played by its own rules on its real environment; `make demo-vm` really boots.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from bench import images
from demo import disk
from demo.terminal import ROOT, Unexpected, environment, heading, last_line, run, say, served

FOLDER = ROOT / ".demo"
SITE = Path("site")
CHANNEL = SITE / "stable"

NOTHING_TO_DO = 3
REFUSED = 65


def main() -> int:
    """Run all steps; return 0 if everything held."""
    begin = time.monotonic()
    FOLDER.mkdir(exist_ok=True)
    os.chdir(FOLDER)
    try:
        old, new = build()
        # Of short path, as gpg-agent's socket is in it; and gone at the end.
        with tempfile.TemporaryDirectory(prefix="caflip-demo-") as home:
            publish(old, new, home, make_key(home))
        heading("Serve the channel; any web server would do")
        with served(str(SITE)) as url:
            provision(f"{url}/stable/")
            update()
            refuse(url)
        held(disk.holds(new, disk.SLOT_B), "slot B is version 2, byte by byte")
        held(disk.holds(old, disk.SLOT_A), "slot A is version 1, byte by byte")
    except (Unexpected, RuntimeError) as error:
        say(f"\nNOT HELD: {error}")
        return 1
    heading(f"Everything held, in {time.monotonic() - begin:.0f} s: proved, updated, refused.")
    return 0


def build() -> tuple[Path, Path]:
    """Build both versions, or find them built; return their images."""
    heading("Two versions of a Debian root file system, by mmdebstrap (kept in .demo)")
    with ThreadPoolExecutor() as pool:
        states = (images.V1, images.V2)
        old, new = pool.map(lambda state: images.build(images.DEMO, state, FOLDER), states)
    changed = images.changed_packages(old, new)
    say(f"{len(changed)} of {len(new.versions())} packages differ, such as:")
    for line in changed[:: max(1, len(changed) // 4)]:
        say(f"    {line}")
    return link("v1.ext4", old), link("v2.ext4", new)


def link(name: str, built: images.Built) -> Path:
    """Give an image a short name."""
    path = Path(name)
    path.unlink(missing_ok=True)
    os.link(built.image("ext4"), path)
    return path


def make_key(home: str) -> str:
    """Make a signing key and the keyring that devices trust; return the fingerprint."""
    heading("A key to sign with, and its public half for the devices")
    user_id = "Releases <releases@example.org>"
    made = last_line("caflip", "keys", "make", user_id, f"--gnupg-home={home}")
    found = re.search(r"[0-9A-F]{40}", made)
    held(found is not None, "keys make prints a fingerprint")
    assert found is not None
    run("caflip", "keys", "export", "trusted.gpg", f"--gnupg-home={home}")
    return found[0]


def publish(old: Path, new: Path, home: str, fingerprint: str) -> None:
    """Publish both versions."""
    heading("Publish: cut into chunks, each stored once; sign")
    shutil.rmtree(SITE, ignore_errors=True)
    CHANNEL.mkdir(parents=True)
    for version, image in (("1.0", old), ("2.0", new)):
        what = ("--compatible=demo-device", f"--version={version}")
        sign = (f"--gnupg-home={home}", f"--sign-with={fingerprint}")
        run("caflip", "release", "make", str(CHANNEL), str(image), *what, *sign)


def provision(channel: str) -> None:
    """Make the disk with version 1 in slot A."""
    heading("In the factory: a disk with two slots, version 1 into slot A")
    shutil.rmtree("state", ignore_errors=True)
    disk.make_disk()
    disk.write_config(channel)
    run("sfdisk", "--quiet", "--list", "-o", "Start,Size,Type,Name", str(disk.DISK))
    say("")
    run("grep", "-v", "^$", str(disk.CONFIG))
    say("$ export CAFLIP_CONFIG=config.toml")
    first = str(CHANNEL / "v1/release.json")
    run("caflip", "install", first, "--slot=A", "--provision", "--running=none")


def update() -> None:
    """Bring version 2 onto slot B, boot it and prove it good."""
    heading("On the device, which runs from A: is there something new? What would it cost?")
    run("caflip", "check", "--running=A")
    say("")
    run("caflip", "plan", "--running=A")

    heading("Update slot B; most of it comes from slot A. The bootloader before and after:")
    show_environment()
    run("caflip", "update", "--running=A", "--verbose")
    show_environment()

    heading("Again before the reboot: nothing to do")
    untouched(lambda: run("caflip", "update", "--running=A", status=NOTHING_TO_DO))

    heading("Reboot (this script plays U-Boot's script; `make demo-vm` really boots)")
    started = disk.boot()
    say(started)
    held("slot B starts" in started, "slot B starts")
    run("caflip", "health", "--running=B")
    run("caflip", "status", "--running=B")

    heading("Again on the new system: nothing to do")
    untouched(lambda: run("caflip", "update", "--running=B", status=NOTHING_TO_DO))


def refuse(url: str) -> None:
    """Offer what must not be installed."""
    heading("A release that somebody changed on the server, and one that is too old")
    tampered = SITE / "tampered"
    shutil.copytree(CHANNEL / "v2", tampered)
    release = tampered / "release.json"
    release.write_text(release.read_text().replace('"2.0"', '"6.6"'))
    for place, code in (("tampered", "release.tampered"), ("stable/v1", "release.rollback")):
        named = f"{url}/{place}/release.json"
        untouched(partial(refused, named, code))


def refused(named: str, code: str) -> None:
    """Try to install a release, which has to end with this code."""
    line = last_line("caflip", "install", named, "--running=B", "--json", status=REFUSED)
    held(json.loads(line)["code"] == code, f"it is refused with {code}")


def untouched(step: Callable[[], None]) -> None:
    """Do a step and see that it does not write to the disk."""
    before = disk.snapshot()
    step()
    held(disk.snapshot() == before, "the disk is as it was")
    say(f"disk.img is as it was and was not written to; SHA-256 {before.sha256[:16]}...")


def held(so: bool, what: str) -> None:
    """See that something is so.

    Raises:
        Unexpected: it is not.
    """
    if not so:
        raise Unexpected(f"it is not so that {what}")


def show_environment() -> None:
    """Print what U-Boot goes by."""
    if shutil.which("fw_printenv", path=environment()["PATH"]):
        run("fw_printenv", "-c", str(disk.FW_ENV))
    else:
        run("caflip", "status", "--running=A")


if __name__ == "__main__":
    sys.exit(main())

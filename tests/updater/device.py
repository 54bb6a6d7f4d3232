# SPDX-License-Identifier: Apache-2.0
"""A device on files: a disk image with two slots, a real U-Boot environment in two copies, a signed
channel, and a configuration that ties them together. What really boots is in tests/vm.

The bootloader is played by `boot`: U-Boot's own rules, as `boot/data/uboot.cmd` has them, on the
real format.
"""

from __future__ import annotations

import random
import secrets
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from boot.bootloader import BootState
from boot.uboot import UBoot
from tests.updater.running import Caflip, Run

MIB = 1 << 20
SLOT_LENGTH = 12 * MIB
OFFSETS = {"A": MIB, "B": MIB + SLOT_LENGTH}
ENVIRONMENT = 4096


@dataclass(frozen=True, slots=True)
class Site:
    """A channel and the key that signs it."""

    folder: Path
    home: Path
    fingerprint: str
    keyring: Path

    def publish(self, caflip: Caflip, image: Path, version: str, *more: str) -> Path:
        """Publish one release; return the path of its release.json."""
        made = caflip(
            *("release", "make", self.folder, image, "--compatible=test-device"),
            *(f"--version={version}", f"--sign-with={self.fingerprint}"),
            *(f"--gnupg-home={self.home}", "--json"),
            *more,
        )
        assert made.status == 0, made.err
        return Path(made.last["path"])


@dataclass(frozen=True, slots=True)
class Device:
    """One device.

    Attributes:
        running: the slot that counts as running; changed by `boot`.
    """

    folder: Path
    site: Site
    caflip: Caflip

    @property
    def disk(self) -> Path:
        return self.folder / "disk.img"

    @property
    def config(self) -> Path:
        return self.folder / "config.toml"

    @property
    def boot_id(self) -> Path:
        """The file that stands for the kernel's boot_id; another one with every `boot`."""
        return self.folder / "boot-id"

    @property
    def bootloader(self) -> UBoot:
        return UBoot(
            ("A", "B"), config=self.folder / "fw_env.config", command_line=Path("/dev/null")
        )

    def run(self, verb: str, *arguments: str | Path, running: str | None = "A") -> Run:
        """Run a verb on this device; `running=None` lets it find out."""
        more = [] if running is None else [f"--running={running}"]
        return self.caflip(verb, *arguments, f"--config={self.config}", *more)

    def must(self, verb: str, *arguments: str | Path, running: str | None = "A") -> Run:
        """Run a verb that has to succeed."""
        done = self.run(verb, *arguments, running=running)
        assert done.status == 0, done.err
        return done

    def slot(self, name: str) -> bytes:
        """Return the bytes of a slot."""
        with self.disk.open("rb") as file:
            file.seek(OFFSETS[name])
            return file.read(SLOT_LENGTH)

    def put(self, name: str, image: Path) -> None:
        """Write an image into a slot, as a factory does."""
        with self.disk.open("r+b") as file:
            file.seek(OFFSETS[name])
            file.write(image.read_bytes())

    def holds(self, name: str, image: Path) -> bool:
        """Whether a slot begins with an image."""
        content = image.read_bytes()
        return self.slot(name)[: len(content)] == content

    def boot_state(self) -> BootState:
        return self.bootloader.read()

    def boot(self) -> str:
        """Start the device as its bootloader would: count a try; return the slot that runs."""
        state = self.boot_state()
        assert state.next is not None, "nothing boots"
        self.boot_id.write_text(secrets.token_hex(4))
        left = state.slot(state.next).tries_left
        if left is not None:
            name, config = f"BOOT_{state.next}_LEFT", self.folder / "fw_env.config"
            subprocess.run(
                ["fw_setenv", "-c", config, name, f"{left - 1:x}"], check=True, timeout=30
            )
        return state.next

    def everything(self) -> tuple[bytes, bytes, bytes]:
        """Return all that decides what boots: disk and both copies of the environment."""
        return (
            self.disk.read_bytes(),
            (self.folder / "env0").read_bytes(),
            (self.folder / "env1").read_bytes(),
        )


def make_site(folder: Path, caflip: Caflip) -> Site:
    """Make a key, its trusted keyring, and an empty channel."""
    home = folder / "gnupg"
    home.mkdir(parents=True, mode=0o700)
    made = caflip("keys", "make", "Test <test@example.org>", f"--gnupg-home={home}", "--json")
    assert made.status == 0, made.err
    fingerprint = str(made.last["fingerprint"])
    keyring = folder / "trusted.gpg"
    exported = caflip(
        "keys", "export", keyring, f"--fingerprint={fingerprint}", f"--gnupg-home={home}"
    )
    assert exported.status == 0, exported.err
    channel = folder / "channel"
    channel.mkdir()
    return Site(channel, home, fingerprint, keyring)


def make_device(
    folder: Path, site: Site, caflip: Caflip, *more: str, slots: Mapping[str, str] | None = None
) -> Device:
    """Make a device whose slots are empty.

    Args:
        folder: for all of it; is made.
        site: where its releases come from.
        caflip: how it is run.
        more: text for the configuration.
        slots: device texts by the bootloader's name; regions of a disk image if None.
    """
    slots = slots or {name: f"disk.img@{at}+{SLOT_LENGTH}" for name, at in OFFSETS.items()}
    folder.mkdir(parents=True)
    (folder / "boot-id").write_text("first")
    disk = folder / "disk.img"
    with disk.open("wb") as file:
        file.truncate(OFFSETS["B"] + SLOT_LENGTH + MIB)
    lines = []
    for name in ("env0", "env1"):
        (folder / name).write_bytes(bytes(ENVIRONMENT))
        lines.append(f"{folder / name} 0x0 {ENVIRONMENT:#x}\n")
    (folder / "fw_env.config").write_text("".join(lines))
    subprocess.run(
        ["fw_setenv", "-c", folder / "fw_env.config", "-f", "/dev/null", "BOOT_ORDER", "A B"],
        check=True,
        capture_output=True,
        timeout=30,
    )
    (folder / "config.toml").write_text(
        f"""compatible = "test-device"
[channel]
url = "{site.folder}"
[trust]
keyring = "{site.keyring}"
fingerprints = ["{site.fingerprint}"]
[bootloader]
kind = "uboot"
config = "fw_env.config"
{"".join(_slot_table(*slot) for slot in slots.items())}[state]
folder = "state"
"""
        + "\n".join(more)
    )
    return Device(folder, site, caflip)


def _slot_table(boot: str, device: str) -> str:
    return f"""[[slot]]
name = "root-{boot.lower()}"
device = "{device}"
boot = "{boot}"
"""


def make_image(path: Path, version: int, length: int = 8 * MIB) -> Path:
    """Make an ext4 image whose content differs a little from version to version."""
    tree = path.with_name(f"{path.name}.tree")
    tree.mkdir()
    chance = random.Random(7)
    for number in range(12):
        content = chance.randbytes(300_000)
        if number == version % 12:
            content = random.Random(version).randbytes(300_000)
        (tree / f"file-{number:02}").write_bytes(content)
    (tree / "version").write_text(f"{version}\n")
    with path.open("wb") as file:
        file.truncate(length)
    subprocess.run(
        [
            *("mkfs.ext4", "-q", "-F", "-O", "^has_journal", "-d", tree),
            *("-U", f"ca5f11b0-0000-4000-8000-{version:012}", "-E"),
            *("hash_seed=ca5f11b0-0000-4000-8000-000000000000", path),
        ],
        check=True,
        timeout=60,
    )
    return path

# SPDX-License-Identifier: Apache-2.0
"""An A/B update of a real root file system, narrated; `make demo` runs it.

Two states of a small Debian root (the point release, then with security updates) are built once
and kept. A GPT disk image gets two slots with the first state in slot A. The second state is cut
into chunks, published by HTTP on the loopback interface and brought onto slot B, where most of it
comes from slot A. No loop device is needed: slots are addressed by offset and length.

Root is needed for the owners in the trees; without it the script starts itself again with sudo.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from bench import images  # noqa: E402 (the tree above is not installed)
from bench.cases import caflip  # noqa: E402

FOLDER = ROOT / ".demo"
MIB = 1 << 20
DISK = "disk.img"
SITE = "site"


@dataclass(frozen=True, slots=True)
class Slot:
    """A partition of the disk image, in bytes."""

    name: str
    offset: int
    length: int

    def options(self) -> list[str]:
        """How `extract` and `verify` are told to work on this region of the disk."""
        return [f"--offset={self.offset}", f"--length={self.length}"]

    def seed(self) -> str:
        """How `extract` is told to take what it can from this region."""
        return f"--seed={DISK}@{self.offset}+{self.length}"


SLOT_A = Slot("root-a", 1 * MIB, images.DEMO.partition_length)
SLOT_B = Slot("root-b", SLOT_A.offset + SLOT_A.length, images.DEMO.partition_length)


def main() -> int:
    """Run all steps; return 0 when slot B holds the second state."""
    if os.geteuid() != 0:
        os.execvp("sudo", ["sudo", sys.executable, *sys.argv])
    begin = time.monotonic()
    FOLDER.mkdir(exist_ok=True)
    os.chdir(FOLDER)

    heading("Two states of a Debian root file system, by mmdebstrap (kept in .demo)")
    with ThreadPoolExecutor() as pool:
        old, new = pool.map(build, (images.V1, images.V2))
    changed = images.changed_packages(old, new)
    print(f"{len(changed)} of {len(new.versions())} packages differ, such as:")
    for line in changed[:: max(1, len(changed) // 6)]:
        print(f"    {line}")

    heading("A GPT disk with two slots: the running system in A, nothing yet in B")
    partition()
    run(["sfdisk", "--list", "-o", "Start,End,Size,Name", DISK])
    place(old.image("ext4"), SLOT_A)

    heading("Publish both states: cut into chunks, each stored once")
    shutil.rmtree(SITE, ignore_errors=True)
    Path(SITE).mkdir()
    for name, built in (("old", old), ("new", new)):
        image = os.path.relpath(built.image("ext4"))
        store = f"--store={SITE}/default.castr"
        run(caflip("make", "--verbose", f"{SITE}/{name}.caibx", image, store))

    heading("Serve it by HTTP")
    with served() as url:
        extract = [f"{url}/new.caibx", DISK, "--in-place", *SLOT_B.options(), SLOT_A.seed()]
        heading("Plan: where would each byte of slot B come from?")
        run(caflip("extract", "--dry-run", *extract))
        heading("Assemble the new state on slot B; most of it is in slot A already")
        run(caflip("extract", "--verbose", *extract))
        heading("Verify: read slot B back from the medium, then let e2fsck look")
        run(caflip("verify", f"{SITE}/new.caibx", DISK, *SLOT_B.options()))
        run(["e2fsck", "-f", "-n", f"{DISK}?offset={SLOT_B.offset}"])
        heading("Again: there is nothing to fetch and nothing to write")
        run(caflip("extract", "--verbose", *extract))

    equal = holds(new.image("ext4"), SLOT_B) and holds(old.image("ext4"), SLOT_A)
    heading(f"Done in {time.monotonic() - begin:.0f} s")
    print(
        f"Slot B is the new image, byte by byte, and slot A as it was: {'yes' if equal else 'NO'}"
    )
    return 0 if equal else 1


def build(state: images.State) -> images.Built:
    """Build one state of the small root file system, or find it built."""
    return images.build(images.DEMO, state, FOLDER)


def partition() -> None:
    """Make the disk image and its partition table."""
    Path(DISK).unlink(missing_ok=True)
    with open(DISK, "wb") as file:
        file.truncate(SLOT_B.offset + SLOT_B.length + MIB)
    lines = ["label: gpt"]
    for slot in (SLOT_A, SLOT_B):
        lines.append(
            f"start={slot.offset // MIB}MiB, size={slot.length // MIB}MiB, name={slot.name}"
        )
    images.run(
        ["sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", DISK], stdin="\n".join(lines)
    )


def place(image: Path, slot: Slot) -> None:
    """Write an image into a slot, as a factory does."""
    command = ["dd", f"if={os.path.relpath(image)}", f"of={DISK}", "bs=1M", "conv=notrunc,sparse"]
    run([*command, f"seek={slot.offset // MIB}", "status=none"])


def holds(image: Path, slot: Slot) -> bool:
    """Whether a slot holds an image, byte by byte."""
    with image.open("rb") as expected, open(DISK, "rb") as disk:
        disk.seek(slot.offset)
        while block := expected.read(MIB):
            if disk.read(len(block)) != block:
                return False
    return True


@contextmanager
def served() -> Iterator[str]:
    """Serve the site on a free port of the loopback interface; give its URL."""
    command = caflip("serve", SITE, "--listen=127.0.0.1:0")
    show(command)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment()) as server:
        assert server.stdout is not None
        try:
            url = server.stdout.readline().strip()
            print(url)
            yield url.rstrip("/")
        finally:
            server.terminate()


def heading(text: str) -> None:
    """Say what comes next."""
    print(f"\n\033[1m== {text}\033[0m" if sys.stdout.isatty() else f"\n== {text}")


def show(command: Sequence[str]) -> None:
    """Print a command as one would type it."""
    words = list(command)
    if words[: len(caflip())] == caflip():
        words = ["caflip", *words[len(caflip()) :]]
    print("$ " + " ".join(words), flush=True)


def run(command: Sequence[str]) -> None:
    """Print a command, run it with its output shown, and end the demonstration if it fails."""
    show(command)
    status = subprocess.call(command, env=environment())
    if status != 0:
        sys.exit(f"{command[0]} ended with status {status}")


def environment() -> dict[str, str]:
    """The environment of the programs: system folders on the path, our tree importable."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    return {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT)}


if __name__ == "__main__":
    sys.exit(main())

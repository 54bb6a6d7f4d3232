# SPDX-License-Identifier: Apache-2.0
"""A small device for each bootloader: slot A runs release 1, slot B holds release 0, both good.

The update to release 2 takes from everywhere: what stands right in B, what moved within B, what A
has, zeros, and the store. Images are 512 KiB, chunks 2 to 32 KiB: an update is some sixty writes.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ParamSpec, TypeVar
from unittest.mock import patch

from images import parallel
from images.locator import parse_locator
from tests.crash.loaders import SLOTS, Loader
from tests.crash.media import Entry, Medium, files_below
from tests.crash.recorder import Recorder
from tests.updater.device import Site, make_site
from tests.updater.running import run_process
from updater.agent import opening
from updater.agent.candidate import Candidate
from updater.agent.events import AgentSink
from updater.agent.finding import find_candidate, remote_fetch
from updater.agent.install import Outcome, update
from updater.agent.machine import Machine
from updater.agent.proving import Verdict, prove, vouch_for
from updater.config import load_config
from updater.health import Health

P = ParamSpec("P")
R = TypeVar("R")

PIECE = 64 << 10
LENGTH = 8 * PIECE
CHUNK_SIZES = "2K:8K:32K"
PLACES = ("slot-a.img", "slot-b.img", "env", "efivars", "state")
"""All that survives a power cut, below the device's folder."""


class Inline(Executor):
    """In place of threads, which cost more than the few bytes here, and are never twice alike."""

    def submit(self, do: Callable[P, R], /, *arguments: P.args, **named: P.kwargs) -> Future[R]:
        """Do it now."""
        done: Future[R] = Future()
        try:
            done.set_result(do(*arguments, **named))
        except Exception as error:
            done.set_exception(error)
        return done


@dataclass(frozen=True, slots=True)
class Channel:
    """Three releases of small images.

    Attributes:
        images, releases: by number, from 0.
    """

    site: Site
    images: tuple[bytes, ...]
    releases: tuple[Path, ...]

    def stored_length(self, chunk: bytes) -> int:
        """Return the bytes that fetching a chunk takes."""
        name = chunk.hex()
        store = self.site.folder / "default.castr"
        return (store / name[:4] / f"{name}.cacnk").stat().st_size


def make_channel(folder: Path) -> Channel:
    """Publish three releases.

    release 0   p0 p1 p2 p3 p4 00 p5 p6        in slot B
    release 1   p0 p1 q2 p3 p4 00 p5 q6        in slot A
    release 2   p0 p5 q2 00 n4 00 p2 q6 with some blocks of p0 changed
    """
    chance = random.Random(5)
    p = [chance.randbytes(PIECE) for _ in range(7)]
    q2, q6, n4, zeros = (*(chance.randbytes(PIECE) for _ in range(3)), bytes(PIECE))
    changed = bytearray(p[0])
    for at in (9_000, 40_000):
        changed[at : at + 5000] = chance.randbytes(5000)
    images = (
        b"".join([p[0], p[1], p[2], p[3], p[4], zeros, p[5], p[6]]),
        b"".join([p[0], p[1], q2, p[3], p[4], zeros, p[5], q6]),
        b"".join([changed, p[5], q2, zeros, n4, zeros, p[2], q6]),
    )
    site = make_site(folder, run_process)
    releases = []
    for number, image in enumerate(images):
        path = folder / f"v{number}.img"
        path.write_bytes(image)
        sizes = f"--chunk-size={CHUNK_SIZES}"
        releases.append(site.publish(run_process, path, f"{number}.0", sizes))
    return Channel(site, images, tuple(releases))


@dataclass(frozen=True, slots=True)
class Rig:
    """One device on files."""

    folder: Path
    loader: Loader
    channel: Channel

    @property
    def boot_id(self) -> Path:
        return self.folder / "boot-id"

    def make(self) -> Rig:
        """Make the folder with empty slots, and fill them as a factory does."""
        for name in ("env", "state"):
            (self.folder / name).mkdir(parents=True)
        for name in PLACES[:2]:
            (self.folder / name).write_bytes(bytes(LENGTH))
        self.boot_id.write_text("first")
        self.loader.prepare(self.folder / "env")
        self.configure()
        for slot, number in (("B", 0), ("A", 1)):
            with self.machine(_ignore, "none") as machine:
                candidate = self.candidate(machine, slot, number)
                target = machine.group(slot)
                update(machine, target, candidate, by_hand=True, activate=False)
                vouch_for(machine, target, candidate)
        return self

    def configure(self) -> None:
        """Write the configuration."""
        site = self.channel.site
        slots = "".join(
            f'[[slot]]\nname = "root-{name.lower()}"\nboot = "{name}"\n'
            f'device = "slot-{name.lower()}.img@0+{LENGTH}"\n'
            for name in SLOTS
        )
        (self.folder / "config.toml").write_text(
            f"""compatible = "test-device"
[channel]
url = "{site.folder}"
[trust]
keyring = "{site.keyring}"
fingerprints = ["{site.fingerprint}"]
[bootloader]
kind = "custom"
{slots}[state]
folder = "state"
"""
        )

    @contextmanager
    def machine(self, sink: AgentSink, running: str) -> Iterator[Machine]:
        """Open the device as every verb does; the bootloader's files are this device's."""
        config = load_config(self.folder / "config.toml")
        with (
            patch.object(opening, "open_boot", lambda _: self.loader.open(self.folder)),
            patch.object(opening, "read_boot_id", self.boot_id.read_text),
            patch.object(parallel, "ThreadPoolExecutor", lambda _: Inline()),
            opening.open_machine(config, "update", sink, running=running) as machine,
        ):
            yield machine

    def candidate(self, machine: Machine, slot: str, number: int) -> Candidate:
        """Prove a release for a slot of this device."""
        location = parse_locator(str(self.channel.releases[number]))
        fetch = remote_fetch(machine, location)
        return find_candidate(machine, machine.group(slot), location, fetch)

    def files(self) -> dict[str, bytes]:
        """Return all that survives a power cut."""
        return files_below(self.folder, *(n for n in PLACES if (self.folder / n).exists()))

    def put(self, files: Mapping[str, bytes]) -> None:
        """Make the device hold just these files, after another boot."""
        for path in self.files().keys() - files.keys():
            (self.folder / path).unlink()
        for path, content in files.items():
            place = self.folder / path
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)

    def recorder(self, files: Mapping[str, bytes]) -> Recorder:
        """Return a recorder of what is done to this device, which holds `files`."""
        return Recorder(self.folder, Medium.holding(files).names, self.loader.variables)


@dataclass(frozen=True, slots=True)
class Recording:
    """What was done to a device, from a whole state to a whole state.

    Attributes:
        before: the files when it began.
        after: the files when it had ended.
        candidate: release 2, proved.
    """

    rig: Rig
    before: Mapping[str, bytes]
    after: Mapping[str, bytes]
    log: tuple[Entry, ...]
    candidate: Candidate


def record_update(rig: Rig) -> Recording:
    """Update a device that was just made, from release 1 in A to release 2 in B."""
    before = rig.files()
    with rig.recorder(before) as recorder, rig.machine(recorder.sink, "A") as machine:
        candidate = rig.candidate(machine, "B", 2)
        report = update(machine, machine.group("B"), candidate)
    assert report.outcome is Outcome.ACTIVATED
    return Recording(rig, before, rig.files(), tuple(recorder.entries), candidate)


def record_proof(updated: Recording) -> Recording:
    """Start a device that was updated, and let slot B prove itself."""
    rig = updated.rig
    rig.loader.start(rig.folder)
    rig.boot_id.write_text("second")
    before = rig.files()
    with rig.recorder(before) as recorder, rig.machine(recorder.sink, "B") as machine:
        report = prove(machine, lambda: Health(()))
    assert report.verdict is Verdict.PROVED
    return Recording(rig, before, rig.files(), tuple(recorder.entries), updated.candidate)


def _ignore(_: object) -> None:
    """Not interested."""

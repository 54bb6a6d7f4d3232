# SPDX-License-Identifier: Apache-2.0
"""A device with slots of 256 KiB, on which a verb takes some 50 ms, and its agent in a process of
its own, which stands still where one likes and can be killed there.

The processes are forked from a server that has all modules (multiprocessing's forkserver): that
takes 10 ms, and nothing of the test's own process is in them.
"""

from __future__ import annotations

import fcntl
import multiprocessing
import os
import signal
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Self

import pytest

from images.index import Index
from tests.capabilities import require_tool
from tests.updater.device import OFFSETS, Device, Site, make_device, make_site
from tests.updater.running import Caflip, content, run_process
from updater.agent.events import AgentEvent, Noticed, StepBegan
from updater.cli import main
from updater.console import Console

PIECE = 32 << 10
LENGTH = 8 * PIECE
CHUNK_SIZES = "2K:8K:32K"
RELEASES = 6
FIRST = 2
"""The release that a new device runs: there is an older one."""

DEADLINE_S = 60.0

Break = Callable[[pytest.MonkeyPatch], None]
"""Breaks the agent on purpose."""

_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload([__name__, "updater.commands.update", "updater.commands.health"])


@dataclass(frozen=True, slots=True)
class Channel:
    """Releases that differ from each other in two pieces of eight.

    Attributes:
        images, releases: by sequence number, from 1.
    """

    site: Site
    images: dict[int, bytes]
    releases: dict[int, Path]

    def lacking(self, release: int, target: bytes, seed: bytes) -> int:
        """Return the bytes to be fetched for a release, as they are stored: of chunks that are
        neither in the target, at their place, nor anywhere in the seed.
        """
        image = self.images[release]
        (path,) = self.releases[release].parent.glob("*.caibx")
        wanted = {
            name.hex()
            for start, end, name in Index.load(path).chunks()
            if target[start:end] != image[start:end] and image[start:end] not in seed
        }
        store = self.site.folder / "default.castr"
        return sum((store / name[:4] / f"{name}.cacnk").stat().st_size for name in wanted)


def make_channel(folder: Path) -> Channel:
    """Publish the releases; skip where a tool for that is missing."""
    require_tool("gpg", "fw_setenv")
    site = make_site(folder / "site", run_process)
    # Each publishing would start an agent of GnuPG, and wait for its end.
    subprocess.run(["gpg-connect-agent", "--homedir", site.home, "/bye"], check=True, timeout=30)
    images, releases = {}, {}
    try:
        for number in range(1, RELEASES + 1):
            pieces = [content(PIECE, seed) for seed in range(8)]
            pieces[number] = content(PIECE, 100 + number)
            path = folder / f"v{number}.img"
            path.write_bytes(b"".join(pieces))
            images[number] = path.read_bytes()
            releases[number] = site.publish(
                run_process, path, f"{number}.0", f"--chunk-size={CHUNK_SIZES}"
            )
    finally:
        subprocess.run(
            ["gpgconf", "--homedir", site.home, "--kill", "gpg-agent"], check=True, timeout=30
        )
    return Channel(site, images, releases)


@dataclass(frozen=True, slots=True)
class SmallDevice:
    """Slot A runs release `FIRST`, proved good, and slot B is empty.

    Attributes:
        new: the files of a new one, by name below its folder; of the disk: both slots.
        broken: how its agent is broken, where that has a process of its own.
    """

    device: Device
    channel: Channel
    new: dict[str, bytes]
    broken: Break | None = None

    @property
    def healthy(self) -> Path:
        """The checks pass while this file is there."""
        return self.device.folder / "healthy"

    def image(self, slot: str) -> bytes:
        """Return what a slot holds."""
        with self.device.disk.open("rb") as disk:
            disk.seek(OFFSETS[slot])
            return disk.read(LENGTH)

    def write(self, slot: str, data: bytes, at: int = 0) -> None:
        """Write to a slot behind the agent's back."""
        with self.device.disk.open("r+b") as disk:
            disk.seek(OFFSETS[slot] + at)
            disk.write(data)

    def files(self) -> dict[str, bytes]:
        """Return what survives a power cut, with the slots under their names; not the lock."""
        folder = self.device.folder
        names = ["env0", "env1", *(f"state/{p.name}" for p in (folder / "state").iterdir())]
        kept = {name: (folder / name).read_bytes() for name in names if (folder / name).is_file()}
        kept.pop("state/lock", None)
        return kept | {slot: self.image(slot) for slot in OFFSETS}

    def put(self, files: dict[str, bytes]) -> None:
        """Make the device hold just these files, in its first boot."""
        there = self.files()
        for name in there.keys() - files.keys():
            (self.device.folder / name).unlink()
        for name, data in files.items():
            if name in OFFSETS:
                self.write(name, data)
            elif there.get(name) != data:
                (self.device.folder / name).write_bytes(data)
        self.device.boot_id.write_text("first")
        self.healthy.touch()

    def start(
        self,
        verb: str,
        *arguments: str | Path,
        running: str,
        hold: tuple[str, int] | None = None,
    ) -> Agent:
        """Start a verb in a process of its own; see `Agent`."""
        words = [verb, *map(str, arguments), "--json", f"--running={running}"]
        words.append(f"--config={self.device.config}")
        ours, theirs = _processes.Pipe()
        reader, writer = _pipe(one_line=hold is None)
        process = _processes.Process(
            target=_run, args=(words, self.device.boot_id, hold, self.broken, theirs, writer)
        )
        process.start()
        theirs.close()
        writer.close()
        return Agent(process, ours, reader)


def make_small_device(
    folder: Path, channel: Channel, caflip: Caflip, patch: pytest.MonkeyPatch
) -> SmallDevice:
    """Make a new device; `healthy` is there. In this process it has a boot id of its own."""
    slots = {name: f"disk.img@{at}+{LENGTH}" for name, at in OFFSETS.items()}
    health = f'[health]\ncommands = [["/usr/bin/test", "-e", "{folder}/healthy"]]\nattempts = 1\n'
    device = make_device(folder, channel.site, caflip, health, slots=slots)
    patch.setattr("updater.agent.opening.read_boot_id", device.boot_id.read_text)
    device.must("install", channel.releases[FIRST], "--slot=A", "--provision", running="none")
    made = SmallDevice(device, channel, {})
    made.healthy.touch()
    made.new.update(made.files())
    return made


class Agent:
    """A verb in a process of its own.

    With `hold=(label, more)` it stands still inside of the event that comes `more` events after the
    first one of this label, until it is told to go on, or is killed. Without, it is never more than
    one line ahead of who reads.
    """

    def __init__(self, process: ForkServerProcess, control: Connection, output: int) -> None:
        self._process = process
        self._control = control
        self._output = output

    def wait_held(self) -> list[str] | None:
        """Wait until it stands still: return the labels of its events so far; None if it ended."""
        assert self._control.poll(DEADLINE_S), "not in time"
        try:
            labels: list[str] = self._control.recv()
        except EOFError:
            return None
        return labels

    def go_on(self) -> None:
        """Let it run from where it stands still."""
        self._control.send(None)

    def read_line(self) -> bytes:
        """Wait for the next line of its output; return it, or nothing at the end."""
        # A line is one packet: see `_pipe`.
        return os.read(self._output, 1 << 16)

    def kill(self) -> int:
        """End it with SIGKILL, wherever it is, if it has not ended; return the exit status."""
        self._process.kill()
        return self.end()

    def end(self) -> int:
        """Wait for its end; return the exit status, negative for a signal."""
        while self.read_line():
            pass
        self._process.join(DEADLINE_S)
        status = self._process.exitcode
        assert status is not None, "not in time"
        return status

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Leave nothing behind, also where the test fails."""
        self.kill()
        self._process.close()
        self._control.close()
        os.close(self._output)


def _pipe(*, one_line: bool) -> tuple[int, Connection]:
    """Return a pipe for the output. With `one_line` there is room for one write: who writes waits
    until the one before was read. Else for all that a verb tells.

    pipe(2), O_DIRECT: each write is a packet; pipe(7): the smallest pipe is one page, one packet.
    """
    reader, writer = os.pipe2((os.O_DIRECT if one_line else 0) | os.O_CLOEXEC)
    if one_line:
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    return reader, Connection(writer, readable=False)


def _run(
    words: Sequence[str],
    boot_id: Path,
    hold: tuple[str, int] | None,
    broken: Break | None,
    control: Connection,
    output: Connection,
) -> None:
    """Be the process: run a verb as its own program would, and end with its status."""
    os.dup2(output.fileno(), 1)
    output.close()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("updater.agent.opening.read_boot_id", boot_id.read_text)
        if hold is not None:
            # Chunk by chunk: these images are so small that all would be one write.
            patch.setattr("images.assembly.PLACED_AT_ONCE", 1)
            patch.setattr(Console, "event", _holding(*hold, control))
        if broken is not None:
            broken(patch)
        status = main(words, "caflip")
    os._exit(status)


def _holding(label: str, more: int, control: Connection) -> Callable[[Console, AgentEvent], None]:
    """Return `Console.event` that stands still at one event."""
    real = Console.event
    labels: list[str] = []

    def event(console: Console, event: AgentEvent) -> None:
        real(console, event)
        labels.append(_label(event))
        if label in labels and len(labels) == labels.index(label) + more + 1:
            control.send(labels)
            control.recv()

    return event


def _label(event: AgentEvent) -> str:
    if isinstance(event, StepBegan):
        return event.step.value
    return event.code if isinstance(event, Noticed) else type(event).__name__

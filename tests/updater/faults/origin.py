# SPDX-License-Identifier: Apache-2.0
"""A channel on a server that may do anything, and the device that is told to go there."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path

from tests.faulty_server import Action, Exchange
from tests.updater.faults.rig import Rig
from tests.updater.running import Run

PIECE = bytes(1 << 16)

LATEST = "/latest.json"
POINTER = b'{"format":"caflip-latest-1","release":"%s"}'

SETTINGS = """[store."{url}"]
connect-timeout-s = 2
low-speed-time-s = 1
deadline-s = 2
{more}
"""
"""Stalls and failures end soon; a busy machine may see one where there is none, and tries again."""


def files_of(channel: Path) -> dict[str, bytes]:
    """Return a channel as a server has it; its pointer names release 3."""
    files = {
        f"/{path.relative_to(channel)}": path.read_bytes()
        for path in channel.rglob("*")
        if path.is_file()
    }
    return files | {LATEST: POINTER % b"v3/release.json"}


@dataclass(frozen=True, slots=True)
class Paths:
    """Where the parts of a release are on the server."""

    release: str
    signature: str
    index: str

    @classmethod
    def of(cls, files: dict[str, bytes], version: int) -> Paths:
        folder = f"/v{version}/"
        (index,) = (path for path in files if path.startswith(folder) and path.endswith("caibx"))
        return cls(f"{folder}release.json", f"{folder}release.json.asc", index)


def chunks_of(files: dict[str, bytes]) -> list[str]:
    return sorted(path for path in files if path.endswith(".cacnk"))


def update_from(rig: Rig, url: str, more: str = "") -> Run:
    """Update from a server, with short times; `more` is for its settings."""
    settings = rig.device.folder / "stores.toml"
    settings.write_text(SETTINGS.format(url=url, more=more))
    with rig.device.config.open("a") as config:
        config.write('[stores]\nsettings = "stores.toml"\n[update]\nnetwork-wait-s = 0.3\n')
    return rig.device.run("update", f"{url}/", "--json")


def refused(rig: Rig, done: Run, status: int, code: str) -> None:
    """See that an update was refused and wrote nothing, and that a good channel is still taken."""
    assert (done.status, done.last["code"]) == (status, code), done.err
    rig.untouched()
    rig.sound()
    rig.finish()


class Endless:
    """A body without end, which counts what it sends.

    Attributes:
        sent: bytes, those in the buffers of the kernel included.
    """

    def __init__(self, announced: bool) -> None:
        self.sent = 0
        self._announced = announced
        self._lock = threading.Lock()

    def __call__(self, exchange: Exchange) -> None:
        exchange.begin(200, 1 << 40 if self._announced else None)
        while not exchange.server.released.is_set():
            exchange.send(PIECE)
            with self._lock:
                self.sent += len(PIECE)


def dripping(piece: int, pause_s: float) -> Action:
    """Send a body in small pieces, with a pause after each."""

    def act(exchange: Exchange) -> None:
        body = exchange.file or b""
        exchange.begin(200, len(body))
        for start in range(0, len(body), piece):
            exchange.send(body[start : start + piece])
            if exchange.server.released.wait(pause_s):
                break
        exchange.hang_up()

    return act

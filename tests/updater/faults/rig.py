# SPDX-License-Identifier: Apache-2.0
"""A device between two releases, and what has to hold of it whatever happened.

Slot A runs release 2, slot B holds release 1, both are proved good; the update brings release 3
into slot B.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from boot.bootloader import SlotState
from images import Index
from images.reading import BLOCK
from tests.updater.agent.conftest import Published
from tests.updater.device import MIB, OFFSETS, SLOT_LENGTH, Device
from tests.updater.faults.machine import Fault, met
from tests.updater.running import COMMAND, Run, run_process

SEED, TARGET = OFFSETS["A"], OFFSETS["B"]
IMAGE_LENGTH = 8 * MIB
DOES = (0, 3)
"""Exit statuses of an update that is in place: done now, or found done."""


@dataclass(frozen=True, slots=True)
class Rig:
    """The device, and the process that works on it.

    Attributes:
        library: faults.c, compiled; None where faults come from below the system call.
        begin: all files of the device before the update.
    """

    device: Device
    published: Published
    library: Path | None
    begin: dict[Path, bytes]

    @property
    def log(self) -> Path:
        return self.device.folder.with_name("met")

    @property
    def met(self) -> list[str]:
        """The calls that were hit: call, path, offset, length."""
        return met(self.log)

    @property
    def state(self) -> Path:
        return self.device.folder / "state"

    def restore(self) -> None:
        """Make the device what it was before the update."""
        self.log.unlink(missing_ok=True)
        for path in self.files():
            if path not in self.begin:
                path.unlink()
        for path, content in self.begin.items():
            path.write_bytes(content)

    def scribble(self, path: Path, offset: int, data: bytes) -> None:
        """Change bytes of a file behind caflip's back, before the update begins."""
        with path.open("r+b") as file:
            file.seek(offset)
            file.write(data)
        self.begin[path] = path.read_bytes()

    def files(self) -> Iterator[Path]:
        return (path for path in self.device.folder.rglob("*") if path.is_file())

    def update(
        self,
        fault: Fault | None = None,
        *,
        location: str | Path | None = None,
        command: tuple[str, ...] = COMMAND,
        has_to_meet: bool = True,
    ) -> Run:
        """Run `caflip update` in a process of its own, with a fault."""
        more = {}
        if fault is not None:
            assert self.library is not None
            more = fault.environment(self.library, self.log)
        done = run_process(
            *("update", location or self.published.releases[3], "--json", "--running=A"),
            f"--config={self.device.config}",
            command=command,
            more=more,
        )
        assert fault is None or not has_to_meet or self.met, f"never met: {fault}"
        return done

    def holds(self, number: int) -> bool:
        """Whether slot B holds a release."""
        return self.device.holds("B", self.published.images[number])

    def sound(self) -> None:
        """See that the device starts, and that nothing was written that must not be."""
        disk = self.device.disk
        before, now = self.begin[disk], disk.read_bytes()
        assert now[:TARGET] == before[:TARGET], "the running slot, or what is before it"
        end = TARGET + SLOT_LENGTH
        assert now[end:] == before[end:], "what is behind the target"
        boot = self.device.boot_state()
        assert boot.slot("A").state is SlotState.GOOD
        assert boot.next == "A" or (boot.next == "B" and self.holds(3))
        assert boot.slot("B").state is SlotState.BAD or self.holds(1) or self.holds(3)

    def untouched(self) -> None:
        """See that disk and environment are byte for byte what they were."""
        for name in ("disk.img", "env0", "env1"):
            path = self.device.folder / name
            assert path.read_bytes() == self.begin[path], name

    def finish(self, location: str | Path | None = None) -> Run:
        """Run again, with no fault: release 3 is in place then, and nothing right was fetched."""
        most = self.lacking()
        done = self.device.run("update", location or self.published.releases[3], "--json")
        assert done.status in DOES, done.err
        assert self.holds(3)
        assert self.device.boot_state().next == "B"
        fetched = sum(image["bytes_fetched"] for image in done.last["images"])
        assert fetched <= most, f"fetched {fetched}, {most} were lacking"
        self.sound()
        return done

    def lacking(self) -> int:
        """Return the compressed bytes of chunks that are neither right in B nor anywhere in A."""
        (path,) = self.published.releases[3].parent.glob("*.caibx")
        store = path.parent.parent / "default.castr"
        target, seed = self.device.slot("B"), self.device.slot("A")
        image = self.published.images[3].read_bytes()
        lacking = {
            chunk.hex()
            for start, end, chunk in Index.load(path).chunks()
            if target[start:end] != image[start:end] and not _has(seed, image[start:end], start)
        }
        return sum((store / name[:4] / f"{name}.cacnk").stat().st_size for name in lacking)

    def asked_of_seed(self) -> list[int]:
        """Return where blocks are that slot A has, slot B has not, and release 3 needs."""
        one, two, three = (self.published.images[n].read_bytes() for n in (1, 2, 3))
        return [
            at
            for at in range(0, IMAGE_LENGTH, BLOCK)
            if one[at : at + BLOCK] != two[at : at + BLOCK] == three[at : at + BLOCK]
        ]


def _has(seed: bytes, chunk: bytes, likely: int) -> bool:
    """Whether a chunk is anywhere in a seed; most are where they are in the image."""
    return seed.startswith(chunk, likely) or chunk in seed

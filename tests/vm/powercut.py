# SPDX-License-Identifier: Apache-2.0
"""The power fails at random while a device updates, again and again: `python -m tests.vm.powercut`.

The device is an ARM board with U-Boot and a disk that loses its write cache; it installs one
release of `turns` after the other. Reboots are made by the reset button, since what was told to be
done has to be durable without an orderly end. Whenever the device starts,

    it boots, and the slot that runs holds its whole image, as the host reads it
    what was told to be activated or proved runs
    no chunk is fetched that stands at its place in the target
    no block of a slot is written that is right

Blocks that two chunks share are left out of the last: where the second chunk comes while the kernel
writes the page with the first, both are on the medium at once, and the page, dirty again, follows.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from images.chunkfile import relative_path
from tests.updater.slow_site import slow_site
from tests.vm.architecture import Architecture
from tests.vm.channel import configuration, keyring_text, published
from tests.vm.devices import uboot_device
from tests.vm.disk import SLOTS, Partition, holds
from tests.vm.fua import is_written_through
from tests.vm.guest import Guest
from tests.vm.machine import Closed, Machine, started
from tests.vm.rootfs import Version
from tests.vm.turns import CHUNKS, Releases, slot_of, version_of
from tests.vm.uboot import Storage
from tests.vm.volatile_disk import BLOCK, KEPT, Loss, Tear, VolatileDisk, served_disk

GOOD_A = {
    "BOOT_ORDER": "A B",
    "BOOT_A_OK": "1",
    "BOOT_A_LEFT": "0",
    "BOOT_B_OK": "0",
    "BOOT_B_LEFT": "0",
}
TRIES = 2
"""`update.tries` of `channel.configuration`."""
VERB_S = 600.0
LONGEST_S = 30.0
"""From power-on to a cut by time; on an idle machine an update is done after some 25 s."""
MOST_WRITES = 400
"""From power-on to a cut by write requests; an update that writes a whole slot takes some 360."""
LIMIT_S = 45.0
"""For a cut by requests: there may be fewer."""
_CHUNK_SUFFIX = ".cacnk"
_UNLIMITED = 1 << 30


@dataclass(frozen=True, slots=True)
class Cut:
    """One cut, and what it found.

    Attributes:
        seconds: from power-on to it.
        writes: requests from power-on to it.
        tear: into what unflushed writes fell apart.
        loss: what the disk lost.
        sequence: of the release that was being offered.
        doing: what the device was at.
    """

    seconds: float
    writes: int
    tear: Tear
    loss: Loss
    sequence: int
    doing: str


class Campaign:
    """A device, and what has to hold whenever it starts.

    Attributes:
        disk: of the device.
        sequence: of the release that is offered to it.
        doing: what the device is at.
    """

    def __init__(self, folder: Path, stack: ExitStack, chance: random.Random) -> None:
        """Make the device.

        Args:
            folder: for all its files.
            stack: ends what serves it.
            chance: decides when the power fails, and what the disk loses.
        """
        channel = published(Architecture.ARM64)
        self._chance = chance
        self._logs = folder
        self._images = channel.images
        self._releases = Releases(channel, folder)
        self._shared = {
            end // BLOCK * BLOCK
            for sequence in (1, 2)
            for _, end, _ in self._releases.index(sequence).chunks()
            if end % BLOCK
        }
        self._site = stack.enter_context(slow_site(self._releases.folder, _UNLIMITED))
        self._url = f"http://10.0.2.2:{self._site.url.rpartition(':')[2]}"
        table = 'kind = "uboot"'
        data = {
            "etc-caflip/config.toml": configuration(channel, self._url, table, ("A", "B")),
            "etc-caflip/trusted.asc": keyring_text(channel),
        }
        board = uboot_device(folder, Storage.PARTITION, both=False, data=data, variables=GOOD_A)
        self._path = board.disk
        self.disk = VolatileDisk(board.disk, through=is_written_through)
        stack.callback(self.disk.close)
        self._server = stack.enter_context(served_disk(self.disk))
        self._hardware = replace(board.hardware(), disks=(self._server.url,))
        self.sequence = 2
        self.doing = "starting"
        self._must_run: str | None = "A"
        self._tries: int | None = None

    def cut_once(self, number: int) -> Cut:
        """Start the device, let it live, and cut the power.

        Raises:
            AssertionError: the device is not as it has to be.
            TimeoutError: it does not start, or does not end what it does.
        """
        if self._chance.random() < 0.5:
            seconds, writes = self._chance.uniform(1.0, LONGEST_S), _UNLIMITED
        else:
            seconds, writes = LIMIT_S, self._chance.randrange(1, MOST_WRITES)
        before = self.disk.writes
        began = time.monotonic()
        with (
            started(self._hardware, self._logs / f"log{number}") as machine,
            suppress(Closed, ConnectionError),
            self._power_fails(machine, before + writes, seconds),
        ):
            self._live(machine)
        ended = time.monotonic()
        self._server.wait_idle()
        self._see_that_nothing_right_was_written()
        done = self.disk.writes - before
        tear, kept = self._chance.choice(list(Tear)), self._chance.choice(KEPT)
        loss = self.disk.cut(tear, kept, self._chance)
        return Cut(ended - began, done, tear, loss, self.sequence, self.doing)

    def finish(self) -> None:
        """Start the device after the last cut, and let it end what it was at."""
        with started(self._hardware, self._logs / "log-last") as machine:
            guest, running = self._start(machine)
            if running != slot_of(self.sequence):
                self._install(guest)
                machine.reset()
                guest, running = self._start(machine)
            self._prove(guest, running)

    @contextmanager
    def _power_fails(self, machine: Machine, writes: int, seconds: float) -> Iterator[None]:
        """Cut when the disk has had so many requests, at the latest after so many seconds."""

        def fail() -> None:
            self.disk.wait_writes(writes, seconds)
            machine.cut()

        thread = threading.Thread(target=fail)
        thread.start()
        try:
            yield
        finally:
            thread.join()

    def _live(self, machine: Machine) -> None:
        """Prove what runs, install the next release, press the reset button; for ever."""
        while True:
            guest, running = self._start(machine)
            if running == slot_of(self.sequence):
                self._prove(guest, running)
            self._install(guest)
            machine.reset()

    def _start(self, machine: Machine) -> tuple[Guest, str]:
        """Wait until a slot runs; return its name, when it proved to be right and whole."""
        self.doing = "starting"
        if self._tries == 0:
            self._must_run = None  # cut off as often as it may be tried, it was given up
        elif self._tries is not None:
            self._tries -= 1
        guest = machine.wait_up()
        line = guest.run("cat /etc/version /proc/cmdline")
        found = re.match(r"(v\d)\n.*caflip\.slot=([AB])", line)
        assert found is not None, line
        version, running = Version(found[1]), found[2]
        assert self._must_run in (None, running), f"{running} runs, not {self._must_run}"
        new = running == slot_of(self.sequence)
        assert version is version_of(self.sequence if new else self.sequence - 1)
        assert holds(self._path, SLOTS[running], self._images[version]), f"{running} is not whole"
        return guest, running

    def _prove(self, guest: Guest, running: str) -> None:
        """Let the slot that is on trial prove itself; the next release is offered from now on."""
        self.doing = f"proving {running}"
        assert _caflip(guest, "health")["slot"] == running
        self._must_run, self._tries = running, None
        self.sequence += 1

    def _install(self, guest: Guest) -> None:
        """Install the release that is offered."""
        target = slot_of(self.sequence)
        self.doing = f"updating {target}"
        self._must_run = None
        held = self._right_chunks(SLOTS[target])
        asked = len(self._site.asked)
        try:
            url = f"{self._url}/{self._releases.name(self.sequence)}"
            report = _caflip(guest, f"update --retry {url}")
        finally:
            again = held.intersection(self._site.asked[asked:])
            assert not again, f"fetched though it was there: {sorted(again)}"
        assert (report["outcome"], report["slot"]) == ("activated, boots next", target)
        self._must_run, self._tries = target, TRIES

    def _right_chunks(self, partition: Partition) -> set[str]:
        """Return where a server has the chunks that stand at their places in a partition."""
        image = self._images[version_of(self.sequence)]
        right = set()
        with self._path.open("rb") as disk, image.open("rb") as wanted:
            disk.seek(partition.offset)
            for start, end, chunk in self._releases.index(self.sequence).chunks():
                if disk.read(end - start) == wanted.read(end - start):
                    right.add(f"/{CHUNKS}/{relative_path(chunk, _CHUNK_SUFFIX)}")
        return right

    def _see_that_nothing_right_was_written(self) -> None:
        for partition in SLOTS.values():
            at = (block - partition.offset for block in self.disk.rewritten)
            again = [n for n in at if 0 <= n < partition.length and n not in self._shared]
            assert not again, f"{partition.value}: written though it was right: {again}"
        self.disk.rewritten.clear()


def _caflip(guest: Guest, command: str) -> dict[str, Any]:
    """Run a verb in the guest that has to succeed; return its last JSON line."""
    done = guest.attempt(f"caflip {command} --json", VERB_S)
    assert done.status == 0, done.output[-2000:]
    last = json.loads(done.output.splitlines()[-1])
    assert isinstance(last, dict)
    return last


def power_cuts(count: int, seed: int, folder: Path, tell: Callable[[str], None]) -> list[Cut]:
    """Cut the power of one device `count` times; then it has to end what it was at.

    Args:
        count: of cuts.
        seed: of when they come, and of what the disk loses.
        folder: empty; takes the device and the logs.
        tell: takes a line for each cut.

    Raises:
        AssertionError, TimeoutError: see `Campaign.cut_once`.
    """
    with ExitStack() as stack:
        campaign = Campaign(folder, stack, random.Random(seed))
        cuts = []
        for number in range(count):
            cut = campaign.cut_once(number)
            tell(f"{number + 1:4} {cut}")
            cuts.append(cut)
        campaign.finish()
        return cuts


def main() -> int:
    """Cut as often as the command line says."""
    parser = argparse.ArgumentParser(prog="python -m tests.vm.powercut", description=__doc__)
    parser.add_argument("count", type=int, metavar="N")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    args = parser.parse_args()
    print(f"seed {args.seed}")
    with TemporaryDirectory(prefix="powercut-") as folder:
        cuts = power_cuts(args.count, args.seed, Path(folder), print)
    lost = sum(cut.loss.lost for cut in cuts)
    print(f"{len(cuts)} cuts, {cuts[-1].sequence - 1} updates, {lost} bytes lost, 0 bricks")
    return 0


if __name__ == "__main__":
    sys.exit(main())

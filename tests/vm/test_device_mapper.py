# SPDX-License-Identifier: Apache-2.0
"""A medium that the kernel makes fail, under whole updates in a guest: real block devices, a real
page cache, and a real ext4 with the state.

Whatever it does holds what holds of faults put before the system call: see
tests/updater/faults/test_medium.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest

from tests.capabilities import require_tool
from tests.updater.agent.conftest import Published
from tests.updater.agent.conftest import published as published
from tests.updater.device import MIB, make_device
from tests.updater.faults.rig import Rig
from tests.updater.running import Run, run_process
from tests.vm.architecture import Architecture
from tests.vm.device_mapper import Fault, error, flakey
from tests.vm.devices import direct, factory_disk
from tests.vm.healing import MODULE, until_written
from tests.vm.machine import started
from tests.vm.mapped_device import FOLDER, PARTS, MappedDevice, disks

pytestmark = [pytest.mark.vm, pytest.mark.timeout(900)]

TARGET, SEED, STATE = "slot-b", "slot-a", "state"


@dataclass(frozen=True, slots=True)
class Case:
    """A fault, and how the run ends that meets it.

    Attributes:
        refused: the kernel says so, and tells it in its log; else it takes the writes and lies.
        untouched: neither disk nor environment is written.
        read_only: it may end as it does on a file system that cannot be written.
    """

    fault: Fault
    refused: bool
    code: str = "image.device-fault"
    status: int = 74
    untouched: bool = False
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class Mapped:
    """The device as the host sees it, and the guest that updates it."""

    rig: Rig
    guest: MappedDevice

    def update(self, fault: Fault, refused: bool) -> Run:
        """Update with a fault, which has to be met."""
        self.guest.fault = fault
        done = self.rig.device.run("update", self.rig.published.releases[3], "--json")
        met = self.guest.met
        assert met is not None
        assert met.said if refused else met.writes, f"never met: {fault}\n{done.err}"
        return done


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, published: Published) -> Iterator[Mapped]:
    """Slot B holds release 1, slot A release 2, both are good, and A boots."""
    require_tool("mkfs.ext4")
    folder = tmp_path_factory.mktemp("mapped")
    device = make_device(folder / "device", published.site, run_process)
    for number, slot in ((1, "B"), (2, "A")):
        device.must(
            *("install", published.releases[number], f"--slot={slot}", "--provision"),
            running="none",
        )
    more = disks(device, published)
    root = factory_disk(folder, Architecture.ARM64, both=False)
    hardware = replace(direct(root, *more), network=False)
    with started(hardware, folder / "log") as machine:
        places = {
            str(device.folder): FOLDER,
            str(published.site.folder): f"{FOLDER}/channel",
        }
        guest = MappedDevice(machine.wait_up(), places)
        guest.prepare()
        rig = Rig(replace(device, caflip=guest), published, None, {})
        rig.begin.update({path: path.read_bytes() for path in rig.files()})
        yield Mapped(rig, guest)


@pytest.fixture
def mapped(made: Mapped) -> Mapped:
    """The device before its update."""
    made.rig.restore()
    return made


MIDDLE = 4 * MIB
CASES = {
    "sectors of the target can neither be read nor written": Case(
        error(TARGET).within(MIDDLE, MIDDLE + 4096), refused=True
    ),
    "the target refuses all writes": Case(flakey(TARGET, "error_writes"), refused=True),
    "the target drops all writes": Case(flakey(TARGET, "drop_writes"), refused=False),
    "the target corrupts all writes": Case(
        flakey(TARGET, "corrupt_bio_byte", "32", "w", "255", "0"), refused=False
    ),
    # The older copy: the first write goes there. One sector of it is written.
    "the environment drops all writes": Case(
        flakey("env0", "drop_writes"), False, "boot.environment-fault", untouched=True
    ),
    # Where ext4 itself meets the fault first, it becomes read-only.
    "the state's file system refuses all writes": Case(
        flakey(STATE, "error_writes"), refused=True, read_only=True
    ),
    "the state's file system can neither be read nor written": Case(error(STATE), refused=True),
}


@pytest.mark.parametrize("name", CASES)
def test_the_device_starts_and_the_next_run_finishes(mapped: Mapped, name: str) -> None:
    case, rig = CASES[name], mapped.rig
    done = mapped.update(case.fault, case.refused)
    ended = (done.status, done.last.get("code"))
    if not (case.read_only and ended == (78, "image.not-accessible")):
        assert ended == (case.status, case.code), done.err
    rig.sound()
    if case.untouched:
        rig.untouched()
    rig.finish()


def test_a_sector_that_only_a_write_heals_is_written(mapped: Mapped) -> None:
    if mapped.guest.guest.attempt(f"modprobe {MODULE}").status:
        pytest.skip(f"missing: the kernel's module {MODULE}")
    (target,) = (part for part in PARTS if part.name == TARGET)
    done = mapped.update(until_written(target, MIDDLE), refused=True)
    assert done.status == 0, done.err
    assert "cannot be read, the first at" in done.err
    assert mapped.rig.holds(3)
    mapped.rig.finish()


def test_the_store_has_what_the_seed_does_not_give(mapped: Mapped) -> None:
    rig = mapped.rig
    places = rig.asked_of_seed()
    at = places[len(places) // 2]
    lacking = rig.lacking()
    done = mapped.update(error(SEED).within(at, at + 4096), refused=True)
    assert done.status == 0, done.err
    (image,) = done.last["images"]
    assert image["bytes_fetched"] > lacking
    assert rig.holds(3)
    rig.finish()

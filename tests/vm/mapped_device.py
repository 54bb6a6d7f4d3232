# SPDX-License-Identifier: Apache-2.0
"""The device of tests/updater/faults in a guest, all of it behind the device mapper.

Each file of the device is a disk of the guest: slots, both copies of the environment, the ext4
with the state. So the host puts them back before a run, and looks at the medium itself afterwards.
Devices are made for each run and removed after it: nothing that the guest has cached stays.
"""

from __future__ import annotations

import base64
import shlex
import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.updater.agent.conftest import Published
from tests.updater.device import ENVIRONMENT, MIB, OFFSETS, SLOT_LENGTH, Device
from tests.updater.running import Run
from tests.vm.device_mapper import PREPARE, Fault, Met, Part, create, remove
from tests.vm.guest import Guest
from tests.vm.programs import run

FOLDER = "/run/device"
STATE_LENGTH = 16 * MIB
RUN_S = 100.0

DISKS = ("disk.img", "env0", "env1", "state.img")
PARTS = (
    Part("slot-a", "/dev/vda", SLOT_LENGTH, OFFSETS["A"]),
    Part("slot-b", "/dev/vda", SLOT_LENGTH, OFFSETS["B"]),
    Part("env0", "/dev/vdb", ENVIRONMENT),
    Part("env1", "/dev/vdc", ENVIRONMENT),
    Part("state", "/dev/vdd", STATE_LENGTH),
)
_FORKING = Path(__file__).with_name("forking.py")


def disks(device: Device, published: Published) -> tuple[Path, ...]:
    """Return the disks of a guest: the device's, and one with channel and configuration.

    The state goes from its folder into a file system of its own.
    """
    state = device.folder / "state"
    _ext4(device.folder / "state.img", state, STATE_LENGTH)
    shutil.rmtree(state)

    content = device.folder.with_name("content")
    (content / "state").mkdir(parents=True)
    site = published.site
    shutil.copytree(site.folder, content / "channel")
    shutil.copy(site.keyring, content / "trusted.gpg")
    (content / "fw_env.config").write_text(
        "".join(f"/dev/mapper/{name} 0x0 {ENVIRONMENT:#x}\n" for name in ("env0", "env1"))
    )
    text = device.config.read_text()
    for slot, offset in OFFSETS.items():
        text = text.replace(f"disk.img@{offset}+{SLOT_LENGTH}", f"/dev/mapper/slot-{slot.lower()}")
    text = text.replace(str(site.folder), f"{FOLDER}/channel")
    text = text.replace(str(site.keyring), f"{FOLDER}/trusted.gpg")
    (content / "config.toml").write_text(text)
    _ext4(content.with_suffix(".img"), content, 32 * MIB)
    return (*(device.folder / name for name in DISKS), content.with_suffix(".img"))


def _ext4(path: Path, folder: Path, length: int) -> None:
    # What is left for the first mount to write would meet the fault before caflip does.
    options = ("-q", "-F", "-b", "4096", "-E", "lazy_itable_init=0,lazy_journal_init=0")
    run("mkfs.ext4", *options, "-d", folder, path, f"{length // 1024}k")


@dataclass(slots=True)
class MappedDevice:
    """Runs of caflip in a guest; it can be called as other tests call caflip.

    Attributes:
        host: what these arguments begin with on the host, and their places in the guest.
        fault: of the next run.
        met: what met the fault of the last run.
    """

    guest: Guest
    host: dict[str, str]
    fault: Fault | None = None
    met: Met | None = None

    def prepare(self) -> None:
        """Make what stays for all runs."""
        self.guest.put("/run/caflip/forking.py", _FORKING.read_text())
        self.guest.run(
            f"""modprobe dm-flakey
            mkdir {FOLDER}
            mount -o ro /dev/vde {FOLDER}
            mkfifo /run/caflip/ask /run/caflip/ended
            python3 /run/caflip/forking.py >/dev/console 2>&1 &"""
        )

    def __call__(self, *arguments: str | Path) -> Run:
        """Run caflip once: on sound devices, or on those with the fault."""
        fault, self.fault = self.fault, None
        broken = [part for part in PARTS if fault is not None and part.name == fault.part]
        words = "\n".join(self._in_guest(str(argument)) for argument in arguments)
        script = [
            PREPARE,
            create(PARTS),
            f"mount /dev/mapper/state {FOLDER}/state\n",
            *(part.break_with(fault) for part in broken if fault is not None),
            f"printf '%s\\n' {shlex.quote(words)} >/run/caflip/ask\n",
            "cat /run/caflip/ended; echo\n",
            *(f"base64 -w 0 /run/caflip/{name}; echo\n" for name in ("out", "err")),
            *(part.tell_met() for part in broken),
            f"umount {FOLDER}/state\n",
            remove(PARTS),
            fault.undo if fault is not None else "",
        ]
        status, out, err, *met = self.guest.run("".join(script), RUN_S).splitlines()
        self.met = Met.parse(met) if met else None
        return Run(int(status), base64.b64decode(out), base64.b64decode(err).decode())

    def _in_guest(self, argument: str) -> str:
        for here, there in self.host.items():
            argument = argument.replace(here, there)
        return argument

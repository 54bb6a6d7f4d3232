# SPDX-License-Identifier: Apache-2.0
"""The main job, really booted: an ARM board in QEMU, U-Boot, two slots; `make demo-vm` runs it.

    boots slot A · update over HTTP, seeded from A · reboots into B · healthy, B is good
    then the counter-proof: a system that never proves good is given up, and the old one boots

The board, its disk and its system are those of the tests (tests/vm).
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from demo.terminal import Unexpected, heading, say
from tests.vm.architecture import Architecture
from tests.vm.channel import configuration, keyring_text, published, served
from tests.vm.devices import uboot_device
from tests.vm.guest import Guest
from tests.vm.machine import started
from tests.vm.uboot import Storage

GOOD_A = {
    "BOOT_ORDER": "A B",
    "BOOT_A_OK": "1",
    "BOOT_A_LEFT": "0",
    "BOOT_B_OK": "0",
    "BOOT_B_LEFT": "0",
}
LONG_S = 900.0


def main() -> int:
    """Run all steps; return 0 when everything was as said."""
    begin = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="caflip-demo-") as folder:
        try:
            _tell(Path(folder))
        except Unexpected as error:
            print(f"NOT HELD: {error}", file=sys.stderr)
            return 1
    heading(f"Everything held, in {time.monotonic() - begin:.0f} s")
    return 0


def _tell(folder: Path) -> None:
    heading("Two versions of a small Debian root, published as signed releases (kept in .vm-cache)")
    channel = published(Architecture.ARM64)
    with served(channel.site.folder) as url:
        heading("An ARM board with U-Boot: version 1 in slot A, nothing in slot B")
        texts = configuration(channel, url, 'kind = "uboot"', ("A", "B"))
        data = {"etc-caflip/config.toml": texts, "etc-caflip/trusted.asc": keyring_text(channel)}
        board = uboot_device(folder, Storage.PARTITION, both=False, data=data, variables=GOOD_A)
        with started(board.hardware(), folder / "console") as machine:
            guest = machine.wait_up()
            _runs(guest, "v1")
            heading("Update: fetch what is missing, write what differs, read it back, flip")
            _show(guest, "caflip update")
            _show(guest, "fw_printenv")
            heading("Reboot: U-Boot counts a try of slot B")
            guest = machine.reboot(guest)
            _runs(guest, "v2")
            _show(guest, "caflip health")
            _show(guest, "caflip update", status=3)

            heading("An update that never proves good: back to version 1 by hand, then B again")
            _show(guest, "caflip rollback")
            guest = machine.reboot(guest)
            _runs(guest, "v1")
            _show(guest, "caflip update --retry")
            for _ in range(2):
                guest = machine.reboot(guest)
                _runs(guest, "v2")
            say("nobody marked slot B good; its two tries are used up")
            guest = machine.reboot(guest)
            _runs(guest, "v1")
            _show(guest, "caflip health")
            _show(guest, "caflip update", status=65)
            machine.power_off(guest)


def _runs(guest: Guest, version: str) -> None:
    found = guest.run("cat /etc/version").strip()
    say(f"it runs {found}")
    if found != version:
        raise Unexpected(f"{found} runs, and not {version}")


def _show(guest: Guest, command: str, status: int = 0) -> None:
    say(f"board# {command}")
    ended = guest.attempt(f"{command} 2>&1", LONG_S)
    say(ended.output.rstrip())
    if ended.status != status:
        raise Unexpected(f"{command} ended with status {ended.status}, and not with {status}")


if __name__ == "__main__":
    sys.exit(main())

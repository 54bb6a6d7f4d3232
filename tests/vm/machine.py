# SPDX-License-Identifier: Apache-2.0
"""A machine in QEMU: how it is made, started, cut off, reset, and awaited.

Everything goes over socket pairs that QEMU inherits: no ports, no paths, nothing to clean up. QEMU
dies with the test process (PR_SET_PDEATHSIG), also when that is killed. Emulation only (TCG); more
than one virtual processor does not make it faster. On ARM `max` has instructions for SHA-512, which
QEMU does in C: an update takes a fifth less than with `cortex-a57`. Pointer authentication is slow
to emulate: with it, it is 6 s instead of 1.3 to the first process. On x86 `Nehalem` needs a sixth
less than `max`, which offers vectors that are emulated one element after another.
"""

from __future__ import annotations

import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.capabilities import require_tool
from tests.vm.architecture import Architecture
from tests.vm.deadline import Deadline
from tests.vm.guest import UP_S, Guest, wait_up
from tests.vm.hangs import report_hang
from tests.vm.places import places
from tests.vm.qmp import Qmp
from tests.vm.streams import Closed, Stream
from tests.vm.write_log import SECTOR

SILENCE_S = 60.0
"""Firmware and kernels say something within 2 s; one start in some hundred never does."""
END_S = 60.0
_QUIET = "umount /efi /data 2>/dev/null; sync; "

_BOARD = {
    Architecture.AMD64: ("-M", "q35", "-cpu", "Nehalem"),
    Architecture.ARM64: ("-M", "virt", "-cpu", "max,pauth=off,sve=off,sme=off"),
}


@dataclass(frozen=True, slots=True)
class LoggedDisk:
    """A disk of which each request that writes is logged; see `write_log`.

    Attributes:
        image: what it holds.
        log: made by `write_log.make_log`.
    """

    image: Path
    log: Path

    def options(self, name: str) -> list[str]:
        """Return the options that make it a block device of this name."""
        log = f"driver=blklogwrites,file={name}-image,log={name}-log,log-sector-size={SECTOR}"
        return [
            *("-blockdev", f"driver=file,node-name={name}-image,filename={self.image}"),
            *("-blockdev", f"driver=file,node-name={name}-log,filename={self.log}"),
            *("-blockdev", f"node-name={name},{log}"),
        ]


@dataclass(frozen=True, slots=True)
class Hardware:
    """What the machine consists of.

    Attributes:
        disks: image files, the URL of a server of one, or those that are logged. The first is an
            NVMe disk (built into the kernel, so root can be on it), the others virtio ones; U-Boot
            fails with two NVMe controllers.
        firmware: read-only flash bank 0; None for the board's own (SeaBIOS) or a given kernel.
        variables: writable flash bank 1.
        kernel: started directly, with `arguments` on its command line.
        restarts: whether a reboot starts the guest again; else QEMU ends.
        network: user mode; the host is 10.0.2.2, and its loopback services answer there.
    """

    architecture: Architecture
    disks: tuple[Path | str | LoggedDisk, ...] = ()
    firmware: Path | None = None
    variables: Path | None = None
    kernel: Path | None = None
    arguments: str = ""
    memory_mib: int = 512
    restarts: bool = True
    network: bool = True

    def command(self, serial: int, port: int, control: int) -> list[str]:
        """Return QEMU's command line, given the inherited sockets."""
        command = [f"qemu-system-{self.architecture.machine}", *_BOARD[self.architecture]]
        command += ["-accel", "tcg,thread=multi", "-smp", "1", "-m", str(self.memory_mib)]
        command += ["-nodefaults", "-no-user-config", "-display", "none"]
        for name, descriptor in (("serial", serial), ("port", port), ("control", control)):
            command += ["-chardev", f"socket,id={name},fd={descriptor}"]
        command += ["-serial", "chardev:serial", "-mon", "chardev=control,mode=control"]
        command += ["-device", "virtio-serial-pci"]
        command += ["-device", "virtserialport,chardev=port,name=caflip.job"]
        command += ["-device", "virtio-rng-pci"]
        banks = ((self.firmware, "readonly=on"), (self.variables, "file.locking=off"))
        for unit, (path, option) in enumerate(banks):
            if path is not None:
                command += ["-drive", f"if=pflash,unit={unit},format=raw,{option},file={path}"]
        for number, disk in enumerate(self.disks):
            if isinstance(disk, LoggedDisk):
                command += disk.options(f"disk{number}")
            else:
                drive = f"if=none,id=disk{number},format=raw,discard=unmap,file={disk}"
                drive += ",file.locking=off" if isinstance(disk, Path) else ""
                command += ["-drive", drive]
            device = "nvme,serial=caflip" if number == 0 else "virtio-blk-pci"
            command += ["-device", f"{device},drive=disk{number}"]
        if self.kernel is not None:
            command += ["-kernel", str(self.kernel), "-append", self.arguments]
        if self.network:
            command += ["-netdev", "user,id=net0", "-device", "virtio-net-pci,netdev=net0,romfile="]
        if not self.restarts:
            command += ["-no-reboot"]
        return command


class Machine:
    """A running machine; `started` makes one.

    Attributes:
        console: what comes out of the first serial port, and goes into it.
        qmp: for all that has no method here.
    """

    def __init__(self, hardware: Hardware, log: Path) -> None:
        with ExitStack() as inherited:
            pairs = [socket.socketpair() for _ in range(3)]
            for _, theirs in pairs:
                inherited.enter_context(theirs)
            descriptors = [theirs.fileno() for _, theirs in pairs]
            with log.with_suffix(".qemu").open("ab") as errors:
                self._process = subprocess.Popen(
                    ["setpriv", "--pdeathsig", "KILL", "--", *hardware.command(*descriptors)],
                    stdin=subprocess.DEVNULL,
                    stdout=errors,
                    stderr=errors,
                    pass_fds=descriptors,
                )
        (serial, _), (port, _), (control, _) = pairs
        self.console = Stream(serial, log)
        self._port = Stream(port, log.with_suffix(".jobs"))
        self._control = control
        try:
            self.qmp = Qmp(control)
        except (ConnectionError, TimeoutError) as error:
            self.close()
            said = log.with_suffix(".qemu").read_text()
            raise RuntimeError(f"QEMU did not start: {said}") from error

    def wait_up(self, timeout_s: float = UP_S) -> Guest:
        """Wait until the guest runs and takes jobs; after a reboot, until the next one does."""
        return wait_up(self._port, self.console, timeout_s)

    def reboot(self, guest: Guest, timeout_s: float = UP_S) -> Guest:
        """Let the guest reboot in order, and wait until it is up again."""
        guest.start(_QUIET + "reboot -f")
        return self.wait_up(timeout_s)

    def power_off(self, guest: Guest) -> None:
        """Let the guest shut down in order, and QEMU end."""
        guest.start(_QUIET + "poweroff -f")
        self.wait_end()

    def reset(self) -> None:
        """Press the reset button."""
        self.qmp.execute("system_reset")

    def cut(self) -> None:
        """Cut the power: nothing is flushed, nothing is told."""
        self._process.kill()
        self._process.wait()

    def connect_network(self, connected: bool) -> None:
        """Plug the cable in, or pull it."""
        self.qmp.execute("set_link", {"name": "net0", "up": connected})

    def wait_end(self, timeout_s: float = END_S) -> None:
        """Wait until QEMU ends, since the guest shut down, or rebooted where it must not restart.

        Raises:
            TimeoutError: it goes on.
        """
        try:
            status = self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"the machine did not end in {timeout_s} s") from None
        if status not in (0, -signal.SIGKILL):
            raise RuntimeError(f"QEMU ended with status {status}")

    def close(self) -> None:
        """End whatever runs."""
        self.cut()
        self.console.close()
        self._port.close()
        self._control.close()


@contextmanager
def started(hardware: Hardware, log: Path) -> Iterator[Machine]:
    """Start a machine, and end it afterwards; wait for a place among the guests before.

    A start without a single byte on the console is a fault of the emulator: it is reported, and
    tried once more.

    Args:
        hardware: what it consists of.
        log: file for the console; beside it `.jobs` (the port) and `.qemu` (messages).
    """
    require_tool(f"qemu-system-{hardware.architecture.machine}", "setpriv")
    with places(1), ExitStack() as stack:
        machine = Machine(hardware, log)
        if not machine.console.wait_first(Deadline(SILENCE_S)):
            machine.close()
            report_hang(log)
            machine = Machine(hardware, log)
        stack.callback(machine.close)
        yield machine


__all__ = ["Closed", "Hardware", "LoggedDisk", "Machine", "started"]

# SPDX-License-Identifier: Apache-2.0
"""Real boot loaders without a kernel: GRUB on a BIOS, systemd-boot and EDK II on UEFI, in QEMU.

What would be a kernel is a script or a small GRUB of its own that prints its slot and resets, so
that one boot takes half a second (BIOS) or five (UEFI).
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

from tests.capabilities import require_module, require_tool

TRANSCRIPT = re.compile(rb"@@BOOT (\S+)([^@]*)@@")
TIMEOUT_S = 120
ESP_OFFSET = 1 << 20
ESP_SECTORS = 32 << 11
ESP_GUID = "0a0b0c0d-0000-4000-8000-00000000000e"


def run(*command: str | Path, stdin: str | None = None) -> bytes:
    """Run a program and return its standard output; fail with its standard error."""
    result = subprocess.run(
        [str(word) for word in command],
        input=None if stdin is None else stdin.encode(),
        stdin=subprocess.DEVNULL if stdin is None else None,
        capture_output=True,
        timeout=TIMEOUT_S,
    )
    assert result.returncode == 0, f"{command}: {result.stderr!r}"
    return result.stdout


def _booted(serial: bytes) -> str | None:
    found = TRANSCRIPT.findall(serial)
    return found[-1][0].decode() if found else None


GRUB_EARLY = """serial --unit=0
terminal_output serial
set root=hd0
set prefix=(hd0)/grub
configfile (hd0)/grub/grub.cfg
"""
GRUB_MAIN = """function caflip_load {
    if [ -f "/kernel-$1" ]; then echo "@@BOOT $1 $caflip_arguments@@"; reboot; fi
    return 1
}
set caflip_default="A B"
source $prefix/caflip.cfg
echo "@@BOOT none@@"
reboot
"""
PAYLOAD_MODULES = ("normal", "echo", "serial", "terminal", "reboot")
GRUB_MODULES = "biosdisk fat normal configfile echo loadenv test sleep reboot serial terminal"


class GrubMachine:
    """A PC with a BIOS, GRUB, and a FAT disk with kernels, script and environment."""

    def __init__(self, folder: Path, script: Path) -> None:
        require_tool("qemu-system-x86_64", "grub-mkimage", "mkfs.vfat", "mcopy")
        loader = Path("/usr/lib/grub/i386-pc/lnxboot.img")
        if not loader.exists():
            require_tool("grub-pc-bin: lnxboot.img")
        self._folder = folder
        self._disk = folder / "disk.img"
        (folder / "early.cfg").write_text(GRUB_EARLY)
        (folder / "grub.cfg").write_text(GRUB_MAIN)
        core = folder / "core.img"
        options = ("-O", "i386-pc", "-p", "/grub", "-c", folder / "early.cfg", "-o", core)
        run("grub-mkimage", *options, *GRUB_MODULES.split())
        (folder / "grub.bin").write_bytes(loader.read_bytes() + core.read_bytes())
        with open(self._disk, "wb") as disk:
            disk.truncate(4 << 20)
        run("mkfs.vfat", self._disk)
        run("mmd", "-i", self._disk, "::grub")
        self._put(folder / "grub.cfg", "grub/grub.cfg")
        self._put(script, "grub/caflip.cfg")

    def _put(self, path: Path, name: str) -> None:
        run("mcopy", "-o", "-i", self._disk, path, f"::{name}")

    def set_kernels(self, *slots: str) -> None:
        kernel = self._folder / "kernel"
        kernel.write_text("a kernel\n")
        subprocess.run(["mdel", "-i", self._disk, "::kernel-*"], stderr=subprocess.DEVNULL)
        for slot in slots:
            self._put(kernel, f"kernel-{slot}")

    def boot(self, environment: Path, *, read_only: bool = False) -> tuple[str | None, str]:
        """Boot once; return the slot and the serial line. The environment is changed by GRUB."""
        if environment.exists():
            self._put(environment, "grub/grubenv")
        else:
            subprocess.run(["mdel", "-i", self._disk, "::grub/grubenv"], stderr=subprocess.DEVNULL)
        drive = f"file={self._disk},format=raw,if=none,id=d" + (",readonly=on" if read_only else "")
        serial = run(
            *shlex.split("qemu-system-x86_64 -accel tcg -m 64 -nodefaults -display none"),
            *("-serial", "stdio", "-no-reboot", "-kernel", self._folder / "grub.bin"),
            *("-drive", drive, "-device", "virtio-blk-pci,drive=d"),
        )
        if environment.exists():
            run("mcopy", "-n", "-o", "-i", self._disk, "::grub/grubenv", environment)
        return _booted(serial), serial.decode("latin-1")


class UefiMachine:
    """A PC with EDK II, whose variables and ESP are exchanged with folders before and after."""

    def __init__(self, folder: Path, variables: Path, boot: Path | None = None) -> None:
        require_tool("qemu-system-x86_64", "grub-mkimage", "mkfs.vfat", "mcopy", "sfdisk")
        require_module("virt.firmware")
        self._code = Path("/usr/share/OVMF/OVMF_CODE_4M.fd")
        template = Path("/usr/share/OVMF/OVMF_VARS_4M.fd")
        if not self._code.exists() or not template.exists():
            require_tool("ovmf: OVMF_CODE_4M.fd")
        self._folder, self._variables, self._boot = folder, variables, boot
        self._store, self._disk = folder / "vars.fd", folder / "esp.img"
        self._store.write_bytes(template.read_bytes())
        with open(self._disk, "wb") as disk:
            disk.truncate(ESP_OFFSET + (ESP_SECTORS << 9) + (1 << 20))
        table = (
            "label: gpt\n"
            f"start={ESP_OFFSET >> 9},size={ESP_SECTORS},uuid={ESP_GUID},"
            "type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B\n"
        )
        run("sfdisk", "-q", "--no-reread", "--no-tell-kernel", self._disk, stdin=table)
        run("mkfs.vfat", "--offset", str(ESP_OFFSET >> 9), self._disk, str(ESP_SECTORS // 2))
        self._image = f"{self._disk}@@{ESP_OFFSET}"
        for name in ("EFI", "EFI/BOOT", "EFI/Linux", "loader", "loader/entries"):
            run("mmd", "-i", self._image, f"::{name}")

    def put(self, path: Path, name: str) -> None:
        run("mcopy", "-o", "-i", self._image, path, f"::{name}")

    def payload(self, slot: str) -> Path:
        """Make an EFI program that prints its slot and resets."""
        script, program = self._folder / f"{slot}.cfg", self._folder / f"{slot}.efi"
        script.write_text(
            "serial --unit=0\nterminal_output serial\nterminal_input serial\n"
            f'echo "@@BOOT {slot}@@"\nreboot\n'
        )
        options = ("-O", "x86_64-efi", "-p", "/none", "-c", script, "-o", program)
        run("grub-mkimage", *options, *["normal", "echo", "serial", "terminal", "reboot"])
        return program

    def boot(self) -> str | None:
        """Boot once and return the slot; variables and file names are changed by the firmware."""
        self._set_variables()
        if self._boot is not None:
            subprocess.run(["mdel", "-i", self._image, "::loader/entries/*"], capture_output=True)
            for path in (self._boot / "loader").rglob("*.conf"):
                self.put(path, str(path.relative_to(self._boot)))
        drive = "if=pflash,format=raw,unit={},file={}{}"
        serial = run(
            *shlex.split("qemu-system-x86_64 -accel tcg,thread=multi -cpu max -M q35 -m 256"),
            *shlex.split("-nodefaults -display none -serial stdio -net none -no-reboot"),
            *("-drive", drive.format(0, self._code, ",readonly=on")),
            *("-drive", drive.format(1, self._store, "")),
            *("-drive", f"if=none,id=d,format=raw,file={self._disk}"),
            *("-device", "nvme,drive=d,serial=x"),
        )
        self._get_variables()
        if self._boot is not None:
            entries = self._boot / "loader/entries"
            for path in entries.iterdir():
                path.unlink()
            run("mcopy", "-n", "-i", self._image, "::loader/entries/*", entries)
        return _booted(serial)

    def _tool(self, *words: str | Path) -> None:
        run(sys.executable, "-m", "virt.firmware.vars", *words)

    def _dump(self) -> list[dict[str, str | int]]:
        dump = self._folder / "dump.json"
        self._tool("-i", self._store, "--output-json", dump)
        found: list[dict[str, str | int]] = json.loads(dump.read_text())["variables"]
        return found

    def _set_variables(self) -> None:
        present = {path.name: path.read_bytes() for path in self._variables.iterdir()}
        for old in self._dump():
            if f"{old['name']}-{old['guid']}" not in present:
                self._tool("--inplace", self._store, "-d", str(old["name"]))
        seed = self._folder / "seed.json"
        variables = [
            {
                "name": name[:-37],
                "guid": name[-36:],
                "attr": int.from_bytes(data[:4], "little"),
                "data": data[4:].hex(),
            }
            for name, data in present.items()
        ]
        seed.write_text(json.dumps({"version": 2, "variables": variables}))
        self._tool("--inplace", self._store, "--set-json", seed)

    def _get_variables(self) -> None:
        for path in self._variables.iterdir():
            path.unlink()
        for found in self._dump():
            data = int(found["attr"]).to_bytes(4, "little") + bytes.fromhex(str(found["data"]))
            (self._variables / f"{found['name']}-{found['guid']}").write_bytes(data)

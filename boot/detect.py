# SPDX-License-Identifier: Apache-2.0
"""Which bootloader started this system, and a backend from the values of a configuration.

Nothing is written and nothing is guessed into a configuration: `detect` is for `caflip doctor` and
for the first draft of a configuration, which names its bootloader.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from boot.bootloader import Bootloader
from boot.command_line import parameters
from boot.errors import BootError, BootSettingInvalid
from boot.storage import read_at

LOADER_INFO = "LoaderInfo-4a67b082-0a4c-41cf-b6c7-440b29bb8c4f"
"""Set by systemd-boot (Boot Loader Interface); other loaders set it too, with their own name."""

BOOT_CURRENT = "BootCurrent-8be4df61-93ca-11d2-aa0d-00e098032b8c"
GRUB_ENVIRONMENTS = ("boot/grub/grubenv", "boot/grub2/grubenv", "boot/efi/EFI/*/grubenv")
AUTOBOOTS = ("boot/autoboot/autoboot.txt", "boot/firmware/autoboot.txt", "boot/autoboot.txt")
EFIVARS = "sys/firmware/efi/efivars"


@dataclass(frozen=True, slots=True)
class Evidence:
    """One thing that was seen, and the backend that it speaks for."""

    kind: str
    seen: str


@dataclass(frozen=True, slots=True)
class Detection:
    """What was found.

    Attributes:
        kind: the backend that fits, None if none does.
        reason: why, in words.
        evidence: all that was seen, the strongest first.
    """

    kind: str | None
    reason: str
    evidence: tuple[Evidence, ...]


def detect(root: Path = Path("/")) -> Detection:
    """Look at the running system, and tell which bootloader chooses its slot.

    Where one loader starts another, the last one chooses: GRUB that was started by U-Boot or by the
    firmware, systemd-boot that was started by the firmware.
    """
    evidence = [
        found
        for look in (_systemd_boot, _barebox, _raspberrypi, _grub, _uboot, _uefi)
        for found in look(root)
    ]
    if not evidence:
        return Detection(None, "no trace of a bootloader that caflip knows", ())
    return Detection(evidence[0].kind, evidence[0].seen, tuple(evidence))


def _systemd_boot(root: Path) -> list[Evidence]:
    text = _read(root / EFIVARS / LOADER_INFO)[4:].decode("utf-16-le", "replace").rstrip("\0")
    if text.startswith("systemd-boot"):
        return [Evidence("systemd-boot", f"the firmware's variable LoaderInfo is {text!r}")]
    return []


def _barebox(root: Path) -> list[Evidence]:
    found = []
    for name in sorted(_parameters(root)):
        if name in ("bootchooser.active", "bootstate.active"):
            found.append(Evidence("barebox", f"{name}= on the kernel's command line"))
    tree = root / "proc/device-tree"
    alias = _text(tree / "aliases/state")
    if alias and "barebox,state" in _text(tree / alias.lstrip("/") / "compatible"):
        found.append(Evidence("barebox", f"the device tree's alias `state`: {alias}"))
    if version := _text(tree / "chosen/barebox-version"):
        found.append(Evidence("barebox", f"/chosen in the device tree: {version}"))
    return found


def _raspberrypi(root: Path) -> list[Evidence]:
    model = _text(root / "proc/device-tree/model")
    if not model.startswith("Raspberry Pi"):
        return []
    return [
        Evidence("raspberrypi", f"{model} with /{name}")
        for name in AUTOBOOTS
        if b"tryboot_a_b=1" in _read(root / name)
    ]


def _grub(root: Path) -> list[Evidence]:
    files = [path for name in GRUB_ENVIRONMENTS for path in sorted(root.glob(name))]
    # GRUB's `linux` command puts BOOT_IMAGE= first (grub-core/loader): a grubenv may be a relic.
    started = "BOOT_IMAGE" in _parameters(root)
    if not files or (not started and (root / "etc/fw_env.config").exists()):
        return []
    because = " and BOOT_IMAGE= on the kernel's command line" if started else ""
    return [Evidence("grub", f"/{path.relative_to(root)}{because}") for path in files]


def _uboot(root: Path) -> list[Evidence]:
    found = []
    if (root / "etc/fw_env.config").exists():
        found.append(Evidence("uboot", "/etc/fw_env.config"))
    if version := _text(root / "proc/device-tree/chosen/u-boot,version"):
        found.append(Evidence("uboot", f"/chosen in the device tree: {version}"))
    return found


def _uefi(root: Path) -> list[Evidence]:
    current = _read(root / EFIVARS / BOOT_CURRENT)
    if len(current) == 6:
        number = int.from_bytes(current[4:], "little")
        return [Evidence("uefi", f"the firmware started Boot{number:04X}")]
    return []


def _read(path: Path) -> bytes:
    try:
        return read_at(path, 0, 4096)
    except BootError:
        return b""


def _text(path: Path) -> str:
    return _read(path).rstrip(b"\0").decode("utf-8", "replace")


def _parameters(root: Path) -> Mapping[str, str]:
    try:
        return parameters(root / "proc/cmdline")
    except BootError:
        return {}


def _path(value: object) -> Path:
    if not isinstance(value, str) or not value.startswith("/"):
        raise ValueError("an absolute path")
    return Path(value)


def _text_value(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("a text")
    return value


def _integer(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError("a whole number")
    return value


def _seconds(value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise ValueError("a number of seconds")
    return float(value)


def _integers(value: object) -> Mapping[str, int]:
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise ValueError("a table of whole numbers")
    return {name: _integer(number) for name, number in value.items()}


@dataclass(frozen=True, slots=True)
class Backend:
    """Where the class is, and its settings: the names of its arguments, and what they may be."""

    module: str
    name: str
    settings: Mapping[str, Callable[[object], object]]

    def load(self) -> Callable[..., Bootloader]:
        """Import the class: only the backend that is in use is loaded."""
        build: Callable[..., Bootloader] = getattr(importlib.import_module(self.module), self.name)
        return build


BACKENDS: Mapping[str, Backend] = MappingProxyType(
    {
        "uboot": Backend(
            "boot.uboot",
            "UBoot",
            {"config": _path, "tries": _integer, "script": _text_value},
        ),
        "raspberrypi": Backend(
            "boot.raspberrypi", "RaspberryPi", {"partitions": _integers, "autoboot": _path}
        ),
        "barebox": Backend(
            "boot.barebox",
            "Barebox",
            {
                "device": _path,
                "offset": _integer,
                "prefix": _text_value,
                "variables": _integers,
                "magic": _integer,
                "stride": _integer,
                "alias": _text_value,
            },
        ),
        "custom": Backend("boot.custom", "Custom", {"handler": _path, "timeout_s": _seconds}),
        "grub": Backend("boot.grub", "Grub", {"environment": _path}),
        "systemd-boot": Backend("boot.systemd_boot", "SystemdBoot", {"boot": _path, "esp": _path}),
        "uefi": Backend("boot.uefi", "Uefi", {}),
    }
)
"""By the word that a configuration uses."""


def open_bootloader(kind: str, slots: Sequence[str], settings: Mapping[str, object]) -> Bootloader:
    """Build a backend from the values of a configuration.

    Args:
        kind: the backend's word, such as `grub`.
        slots: the bootloader's names of the slots, in the order of the configuration.
        settings: what else the backend needs; paths are texts.

    Raises:
        BootSettingInvalid: no such backend, no such setting, or a value that makes no sense.
        BootError: what the backend's constructor raises.
    """
    backend = BACKENDS.get(kind)
    if backend is None:
        raise BootSettingInvalid(f"no bootloader {kind!r}", hint=_nearest(kind, list(BACKENDS)))
    arguments: dict[str, object] = {}
    for name, value in settings.items():
        convert = backend.settings.get(name)
        if convert is None:
            raise BootSettingInvalid(
                f"{kind} has no setting {name!r}", hint=_nearest(name, list(backend.settings))
            )
        try:
            arguments[name] = convert(value)
        except ValueError as error:
            raise BootSettingInvalid(f"{kind}: {name} is {value!r}, not {error}") from error
    build = backend.load()
    missing = [
        name
        for name, parameter in inspect.signature(build).parameters.items()
        if parameter.default is parameter.empty and name not in ("slots", *arguments)
    ]
    if missing:
        raise BootSettingInvalid(f"{kind} needs the setting {', '.join(missing)}")
    return build(slots=slots, **arguments)


def _nearest(word: str, known: list[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1)
    return f"is {near[0]!r} meant?" if near else f"there are {', '.join(known) or 'none'}"

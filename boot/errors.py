# SPDX-License-Identifier: Apache-2.0
"""What can go wrong between us and a bootloader, sorted by what the caller does next.

    BootError
    ├── EnvironmentFault     74  reading or writing the environment failed: EIO, read-only, full
    │   └── EnvironmentBusy  75  another program holds the environment's lock
    ├── EnvironmentInvalid   78  no copy of the environment can be believed; nothing is guessed
    ├── BootloaderMissing    78  the backend's files, variables or tools are not on this system
    ├── SlotUnknown          78  the bootloader knows no such slot
    └── BootSettingInvalid   78  a setting of the backend that makes no sense

The exit statuses are those of sysexits.h. Every class has a stable `code`; `hint` says what to do.
"""

from __future__ import annotations

from typing import ClassVar


class BootError(Exception):
    """Root of everything that `boot` raises on purpose.

    Attributes:
        code: stable identifier such as `boot.environment-invalid`.
        exit_status: what a command ends with, from sysexits.h.
        hint: the remedy in one sentence, None where there is none.
    """

    code: ClassVar[str] = "boot"
    exit_status: ClassVar[int] = 70
    default_hint: ClassVar[str | None] = None

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint if hint is not None else self.default_hint


class EnvironmentFault(BootError):
    """The boot environment cannot be read or written."""

    code = "boot.environment-fault"
    exit_status = 74
    default_hint = "look at the kernel log; is the medium, or its file system, read-only or full?"


class EnvironmentBusy(EnvironmentFault):
    """Another program holds the lock of the boot environment."""

    code = "boot.environment-busy"
    exit_status = 75
    default_hint = "is fw_setenv running, or another caflip? run the same command again"


class EnvironmentInvalid(BootError):
    """No copy of the boot environment can be believed."""

    code = "boot.environment-invalid"
    exit_status = 78
    default_hint = "nothing was written; look at `caflip doctor`, then write the environment anew"


class BootloaderMissing(BootError):
    """What the backend needs is not on this system."""

    code = "boot.bootloader-missing"
    exit_status = 78
    default_hint = (
        "name the right bootloader in the configuration; `caflip doctor` says what is there"
    )


class SlotUnknown(BootError):
    """The bootloader knows no slot of this name."""

    code = "boot.slot-unknown"
    exit_status = 78


class BootSettingInvalid(BootError):
    """A setting of the backend makes no sense."""

    code = "boot.setting-invalid"
    exit_status = 78

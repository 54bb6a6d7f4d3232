# SPDX-License-Identifier: Apache-2.0
"""What can go wrong with images, sorted by what the caller does next.

    ImageError
    ├── RetryLater          75  the same call may succeed later, nothing else is needed
    │   ├── StoreUnavailable      no answer in time, 429/5xx until the deadline, TLS or DNS trouble
    │   └── Interrupted           a signal ended the run; the target continues at the next one
    ├── TryAnotherSource    69  this source does not help, another may
    │   ├── ChunkMissing          the store does not have it
    │   ├── ChunkInvalid          truncated, too long, undecodable, or of another digest
    │   └── SeedUnusable          a seed that cannot be opened or read
    ├── Refused             65  the bytes are wrong: do not use this index or release
    │   ├── IndexInvalid          a `.caibx` that breaks a rule of the format
    │   └── VerifyFailed          what stands on the target is not what the index says
    ├── DeviceFault         74  the medium failed: EIO, or what was written reads back otherwise
    ├── OperatorMustAct     78  a person has to change something
    │   ├── TargetTooSmall
    │   ├── TargetBusy            mounted, or opened exclusively by another
    │   ├── NoSpace               ENOSPC, EDQUOT
    │   ├── NotAccessible         no such path, no permission, not the right kind of file
    │   └── SettingInvalid        an option or a settings file that makes no sense
    └── Bug                 70  a broken promise of ours

The exit statuses are those of sysexits.h. Every class has a stable `code`; the instance's `hint`
says what to do.
"""

from __future__ import annotations

from typing import ClassVar


class ImageError(Exception):
    """Root of everything that `images` raises on purpose.

    Attributes:
        code: stable identifier such as `image.chunk-missing`.
        exit_status: what a command ends with, from sysexits.h.
        hint: the remedy in one sentence, None where there is none.
    """

    code: ClassVar[str] = "image"
    exit_status: ClassVar[int] = 70
    default_hint: ClassVar[str | None] = None

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint if hint is not None else self.default_hint


class RetryLater(ImageError):
    """The same call may succeed later."""

    code = "image.retry-later"
    exit_status = 75


class StoreUnavailable(RetryLater):
    """A store did not answer, or only with errors that may pass."""

    code = "image.store-unavailable"
    default_hint = "check the network and the store's address; what was fetched so far is kept"


class Interrupted(RetryLater):
    """A signal ended the run in order."""

    code = "image.interrupted"
    default_hint = "run the same command again: it continues where it stood"


class TryAnotherSource(ImageError):
    """This source does not help; another may."""

    code = "image.try-another-source"
    exit_status = 69


class ChunkMissing(TryAnotherSource):
    """No store that was asked has the chunk."""

    code = "image.chunk-missing"
    default_hint = "add a store that has it (--store, --extra-store), or publish the image again"


class ChunkInvalid(TryAnotherSource):
    """A store's chunk is truncated, too long, undecodable, or has another digest."""

    code = "image.chunk-invalid"
    default_hint = "repair the store with `caflip verify --repair`, or add another store"


class SeedUnusable(TryAnotherSource):
    """A seed cannot be opened or read."""

    code = "image.seed-unusable"


class Refused(ImageError):
    """The bytes are wrong; using them would be wrong too."""

    code = "image.refused"
    exit_status = 65


class IndexInvalid(Refused):
    """An index breaks a rule of its format."""

    code = "image.index-invalid"
    default_hint = "fetch or make the index again"


class VerifyFailed(Refused):
    """Content is not what the index says."""

    code = "image.verify-failed"


class DeviceFault(ImageError):
    """The medium failed."""

    code = "image.device-fault"
    exit_status = 74
    default_hint = "look at the kernel log; replace the medium if it happens again"


class OperatorMustAct(ImageError):
    """A person has to change something first."""

    code = "image.operator-must-act"
    exit_status = 78


class TargetTooSmall(OperatorMustAct):
    """The image is longer than the device or region it should go to."""

    code = "image.target-too-small"
    default_hint = "use a larger partition, or a smaller image"


class TargetBusy(OperatorMustAct):
    """The target is mounted or held by somebody else."""

    code = "image.target-busy"
    default_hint = "unmount it, or choose the inactive slot"


class NoSpace(OperatorMustAct):
    """The file system is full."""

    code = "image.no-space"
    default_hint = "make room and run the same command again: it continues where it stood"


class NotAccessible(OperatorMustAct):
    """A path does not exist, may not be opened, or is of the wrong kind."""

    code = "image.not-accessible"


class SettingInvalid(OperatorMustAct):
    """An option or a settings file makes no sense."""

    code = "image.setting-invalid"


class Bug(ImageError):
    """A promise of our own was broken."""

    code = "image.bug"
    default_hint = "please report it with the command line and the output of -v"

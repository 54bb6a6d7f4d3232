# SPDX-License-Identifier: Apache-2.0
"""Programs of the integrator's that an update calls, and what they are told.

before    before anything is written. A failure puts the update off
after     when the slot is whole, before it is activated. A failure keeps it inactive
failed    after a failure. Its own failure is only told of

All of it for integrators: docs/health.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from updater.agent.events import HookRan
from updater.config import HooksConfig
from updater.errors import HookFailed
from updater.processes import run

MAX_ERROR_LENGTH = 4096
"""Characters of CAFLIP_ERROR: execve(2) refuses a variable of 128 KiB, and the hook with it."""


@dataclass(frozen=True, slots=True)
class HookFacts:
    """What a hook is told, in its environment.

    Attributes:
        slot: the bootloader's name of the target.
        devices: of the target, by class.
        error: why it failed; for `failed`.
        offsets: where the slot begins on its device, by class; 0 where it is not named.
    """

    version: str
    sequence: int | None
    slot: str
    devices: Mapping[str, Path]
    error: str | None = None
    offsets: Mapping[str, int] = field(default_factory=dict)

    def environment(self, hook: str) -> dict[str, str]:
        """Return the variables for one hook."""
        variables = {
            "CAFLIP_HOOK": hook,
            "CAFLIP_VERSION": self.version,
            "CAFLIP_SEQUENCE": "" if self.sequence is None else str(self.sequence),
            "CAFLIP_SLOT": self.slot,
            "CAFLIP_ERROR": (self.error or "").replace("\0", "")[:MAX_ERROR_LENGTH],
        }
        for name, path in self.devices.items():
            ending = name.upper().replace("-", "_")
            variables[f"CAFLIP_DEVICE_{ending}"] = str(path)
            variables[f"CAFLIP_OFFSET_{ending}"] = str(self.offsets.get(name, 0))
        return variables


def _silence() -> None:
    """Be told that we wait, and do nothing about it."""


def run_hooks(
    config: HooksConfig,
    hook: str,
    facts: HookFacts,
    sink: Callable[[HookRan], None],
    alive: Callable[[], None] = _silence,
) -> None:
    """Call one hook, if there is one.

    Args:
        config: which programs.
        hook: `before`, `after` or `failed`.
        facts: what it is told.
        sink: is told how it went.
        alive: called while waiting; feeds a watchdog.

    Raises:
        HookFailed: `before` or `after` did not end with status 0 in time.
    """
    command: tuple[str, ...] = getattr(config, hook)
    if not command:
        return
    ended = run(
        command,
        timeout_s=config.timeout_s,
        environment=facts.environment(hook),
        alive=alive,
    )
    sink(
        HookRan(
            hook,
            command,
            ended.status,
            ended.seconds,
            ended.timed_out,
            ended.output.strip(),
            ended.dropped,
        )
    )
    if not ended.ok and hook != "failed":
        raise HookFailed(f"the `{hook}` hook {command[0]} {ended.reason}")

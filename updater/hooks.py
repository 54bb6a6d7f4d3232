# SPDX-License-Identifier: Apache-2.0
"""Programs of the integrator's that an update calls, and what they are told.

before    before anything is written. A failure puts the update off
after     when the slot is whole, before it is activated. A failure keeps it inactive
failed    after a failure. Its own failure is only told of
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from updater.config import HooksConfig
from updater.errors import HookFailed
from updater.processes import run


@dataclass(frozen=True, slots=True)
class HookRan:
    """A hook was called.

    Attributes:
        name: `before`, `after` or `failed`.
        status: see `processes.Finished`.
        output: the end of what it printed.
    """

    name: str
    command: tuple[str, ...]
    status: int
    seconds: float
    timed_out: bool
    output: str


@dataclass(frozen=True, slots=True)
class HookFacts:
    """What a hook is told, in its environment.

    Attributes:
        slot: the bootloader's name of the target.
        devices: of the target, by class.
        error: why it failed; for `failed`.
    """

    version: str
    sequence: int | None
    slot: str
    devices: Mapping[str, Path]
    error: str | None = None

    def environment(self, hook: str) -> dict[str, str]:
        """Return the variables for one hook."""
        variables = {
            "CAFLIP_HOOK": hook,
            "CAFLIP_VERSION": self.version,
            "CAFLIP_SEQUENCE": "" if self.sequence is None else str(self.sequence),
            "CAFLIP_SLOT": self.slot,
            "CAFLIP_ERROR": self.error or "",
        }
        for name, path in self.devices.items():
            variables[f"CAFLIP_DEVICE_{name.upper().replace('-', '_')}"] = str(path)
        return variables


def run_hooks(
    config: HooksConfig, hook: str, facts: HookFacts, sink: Callable[[HookRan], None]
) -> None:
    """Call one hook, if there is one.

    Args:
        config: which programs.
        hook: `before`, `after` or `failed`.
        facts: what it is told.
        sink: is told how it went.

    Raises:
        HookFailed: `before` or `after` did not end with status 0 in time.
    """
    command: tuple[str, ...] = getattr(config, hook)
    if not command:
        return
    ended = run(command, timeout_s=config.timeout_s, environment=facts.environment(hook))
    sink(HookRan(hook, command, ended.status, ended.seconds, ended.timed_out, ended.output.strip()))
    if not ended.ok and hook != "failed":
        raise HookFailed(f"the `{hook}` hook {command[0]} {ended.reason}")

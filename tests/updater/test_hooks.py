# SPDX-License-Identifier: Apache-2.0
"""Hooks that end in ways beyond saying no; the usual ones are in `test_hooks_called`."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from updater import processes
from updater.agent.events import HookRan
from updater.config import HooksConfig
from updater.errors import HookFailed
from updater.hooks import HookFacts, run_hooks
from updater.json_lines import event_line

FACTS = HookFacts("2.0", 7, "B", {"rootfs": Path("/dev/sda3")})


def program(folder: Path, text: str) -> tuple[str, ...]:
    path = folder / "hook"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return (str(path),)


@pytest.mark.parametrize("hook", ["before", "after"])
def test_a_hook_that_a_signal_ended_says_no(hook: str, tmp_path: Path) -> None:
    command = program(tmp_path, "kill -KILL $$")
    with pytest.raises(HookFailed, match=f"the `{hook}` hook {command[0]} ended by SIGKILL") as no:
        run_hooks(HooksConfig(command, command), hook, FACTS, lambda ran: None)
    assert (no.value.exit_status, no.value.code) == (75, "agent.hook-failed")


def test_a_hook_that_is_not_executable_says_no(tmp_path: Path) -> None:
    command = program(tmp_path, "true")
    Path(command[0]).chmod(0o644)
    with pytest.raises(HookFailed, match="cannot be started: Permission denied"):
        run_hooks(HooksConfig(before=command), "before", FACTS, lambda ran: None)


def test_a_hook_that_succeeds_after_its_time_says_no(tmp_path: Path) -> None:
    command = program(tmp_path, "trap 'exit 0' TERM; sleep 600 & wait")
    told: list[HookRan] = []
    with pytest.raises(HookFailed, match="took longer than"):
        run_hooks(HooksConfig(before=command, timeout_s=0.3), "before", FACTS, told.append)
    assert (told[0].status, told[0].timed_out) == (0, True)


def test_a_hook_whose_child_does_not_hear_sigterm_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "GRACE_S", 0.2)
    command = program(tmp_path, "trap '' TERM; sh -c 'trap \"\" TERM; sleep 600; true'")
    told: list[HookRan] = []
    with pytest.raises(HookFailed):
        run_hooks(HooksConfig(before=command, timeout_s=0.3), "before", FACTS, told.append)
    assert (told[0].timed_out, told[0].status) == (True, -signal.SIGKILL)


@pytest.mark.parametrize("hook", ["before", "after", "failed"])
def test_what_a_hook_leaves_running_is_not_waited_for(hook: str, tmp_path: Path) -> None:
    command = program(tmp_path, "sleep 600 & echo done")
    told: list[HookRan] = []
    run_hooks(HooksConfig(command, command, command), hook, FACTS, told.append)
    assert (told[0].status, told[0].output, told[0].timed_out) == (0, "done", False)


def test_an_error_that_is_no_text_reaches_the_hook(tmp_path: Path) -> None:
    command = program(tmp_path, 'printf %s "$CAFLIP_ERROR"')
    told: list[HookRan] = []
    facts = HookFacts("1", 1, "B", {}, error="path a\udcff\nb")
    run_hooks(HooksConfig(failed=command), "failed", facts, told.append)
    assert told[0].output == "path a\ufffd\nb"


def test_a_hook_is_a_line_of_json(tmp_path: Path) -> None:
    told: list[HookRan] = []
    command = program(tmp_path, "echo it is fine")
    run_hooks(HooksConfig(before=command), "before", FACTS, told.append)
    line = json.loads(event_line(told[0]))
    assert (line["event"], line["name"], line["status"]) == ("hook", "before", 0)
    assert line["output"] == "it is fine"


def test_waiting_for_a_hook_feeds_the_watchdog(tmp_path: Path) -> None:
    fed: list[None] = []
    config = HooksConfig(before=program(tmp_path, "sleep 1.2"))
    run_hooks(config, "before", FACTS, lambda ran: None, lambda: fed.append(None))
    assert len(fed) >= 2

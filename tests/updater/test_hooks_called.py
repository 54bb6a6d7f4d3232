# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest

from updater.agent.events import HookRan
from updater.config import HooksConfig
from updater.errors import HookFailed
from updater.hooks import MAX_ERROR_LENGTH, HookFacts, run_hooks

FACTS = HookFacts(
    version="2.1 beta",
    sequence=7,
    slot="B",
    devices={"rootfs": Path("/dev/vda3"), "app-data": Path("/dev/vda")},
    offsets={"app-data": 4096},
)


def script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


def config(hook: str, *command: str, timeout_s: float = 30.0) -> HooksConfig:
    before, after, failed = (command if hook == name else () for name in HOOKS)
    return HooksConfig(before, after, failed, timeout_s)


HOOKS = ("before", "after", "failed")


@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_is_told_all_of_it_in_its_environment(tmp_path: Path, hook: str) -> None:
    told: list[HookRan] = []
    program = script(tmp_path / "hook", 'env | grep ^CAFLIP_ | sort; echo "$1"; read x || echo no')
    run_hooks(config(hook, program, "a  b;c"), hook, FACTS, told.append)
    assert told[0].output.splitlines() == [
        "CAFLIP_DEVICE_APP_DATA=/dev/vda",
        "CAFLIP_DEVICE_ROOTFS=/dev/vda3",
        "CAFLIP_ERROR=",
        f"CAFLIP_HOOK={hook}",
        "CAFLIP_OFFSET_APP_DATA=4096",
        "CAFLIP_OFFSET_ROOTFS=0",
        "CAFLIP_SEQUENCE=7",
        "CAFLIP_SLOT=B",
        "CAFLIP_VERSION=2.1 beta",
        "a  b;c",
        "no",
    ]
    assert (told[0].name, told[0].status, told[0].command) == (hook, 0, (program, "a  b;c"))


@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_that_fails_stops_the_update_unless_that_failed_before(
    tmp_path: Path, hook: str
) -> None:
    told: list[HookRan] = []
    program = script(tmp_path / "hook", "echo battery is low >&2; exit 7")
    if hook == "failed":
        run_hooks(config(hook, program), hook, FACTS, told.append)
    else:
        with pytest.raises(HookFailed, match=f"`{hook}` hook .*status 7: battery is low"):
            run_hooks(config(hook, program), hook, FACTS, told.append)
    assert (told[0].status, told[0].output) == (7, "battery is low")


@pytest.mark.parametrize("hook", HOOKS)
def test_a_hook_that_hangs_is_ended_and_has_failed(tmp_path: Path, hook: str) -> None:
    told: list[HookRan] = []
    program = script(tmp_path / "hook", "echo waiting; sleep 600")
    slow = config(hook, program, timeout_s=0.5)
    if hook == "failed":
        run_hooks(slow, hook, FACTS, told.append)
    else:
        with pytest.raises(HookFailed, match="took longer than"):
            run_hooks(slow, hook, FACTS, told.append)
    assert (told[0].timed_out, told[0].output) == (True, "waiting")


def test_a_hook_that_is_not_there_has_failed(tmp_path: Path) -> None:
    told: list[HookRan] = []
    with pytest.raises(HookFailed, match="No such file"):
        run_hooks(config("before", str(tmp_path / "none")), "before", FACTS, told.append)
    assert told[0].status == 127


def test_only_the_hook_that_is_due_is_called(tmp_path: Path) -> None:
    told: list[HookRan] = []
    run_hooks(config("after", script(tmp_path / "hook", "exit 1")), "before", FACTS, told.append)
    assert told == []


def test_of_much_output_the_end_is_told(tmp_path: Path) -> None:
    told: list[HookRan] = []
    program = script(tmp_path / "hook", "seq 1 100000")
    run_hooks(config("before", program), "before", FACTS, told.append)
    assert told[0].output.endswith("\n99999\n100000")
    assert told[0].dropped > 500_000


def test_an_error_of_any_length_and_any_bytes_reaches_the_hook(tmp_path: Path) -> None:
    told: list[HookRan] = []
    program = script(tmp_path / "hook", 'printf %s "$CAFLIP_ERROR" | wc -c')
    facts = HookFacts("1", None, "B", {}, error="x\0" + "y" * (1 << 20))
    run_hooks(config("failed", program), "failed", facts, told.append)
    assert told[0].output == str(MAX_ERROR_LENGTH)
    assert facts.environment("failed")["CAFLIP_SEQUENCE"] == ""

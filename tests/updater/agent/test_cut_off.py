# SPDX-License-Identifier: Apache-2.0
"""A process that ends at any event, without a chance to tidy up: the next run finishes.

The stream of events makes the list of places. The process is forked and leaves by _exit(2), which
runs nothing of it; that what was not flushed is lost too is shown in tests/vm.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from boot.bootloader import SlotState
from tests.updater.agent.conftest import MakeDevice, Published
from tests.updater.device import Device
from updater.agent.events import AgentEvent
from updater.agent.finding import channel_of, find_candidate, remote_fetch
from updater.agent.install import Outcome, update
from updater.agent.opening import open_machine
from updater.config import load_config

CUT = 99


def run_until(device: Device, cut_at: int | None) -> tuple[int | None, int]:
    """Update in a process of its own that ends at its event `cut_at`.

    Returns:
        The exit status, and the bytes that were fetched by a run that got to its end.
    """
    reader, writer = os.pipe()
    process = os.fork()
    if process == 0:
        try:
            os.close(reader)
            status, fetched = _update(device, cut_at)
            os.write(writer, str(fetched).encode())
            os._exit(status)
        finally:
            os._exit(70)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        told = pipe.read()
    _, status = os.waitpid(process, 0)
    return os.waitstatus_to_exitcode(status), int(told or 0)


def _update(device: Device, cut_at: int | None) -> tuple[int, int]:
    seen = 0

    def sink(event: AgentEvent) -> None:
        nonlocal seen
        seen += 1
        if seen == cut_at:
            os._exit(CUT)

    with open_machine(load_config(device.config), "update", sink, running="A") as machine:
        target = machine.target()
        location = channel_of(machine, None)
        candidate = find_candidate(machine, target, location, remote_fetch(machine, location))
        report = update(machine, target, candidate)
    done = report.outcome in (Outcome.ACTIVATED, Outcome.AWAITING_REBOOT)
    return (0 if done else 1), sum(image.bytes_fetched for image in report.images)


def _whole(device: Device, published: Published) -> None:
    """Whatever happened: something boots, and what boots is whole."""
    state = device.boot_state()
    assert state.next is not None
    assert state.slot("A").state is SlotState.GOOD
    number = {"A": 1, "B": 2}[state.next]
    assert device.holds(state.next, published.images[number])


def test_a_cut_at_any_event_leaves_a_system_that_boots_and_an_update_that_finishes(
    new_device: MakeDevice, published: Published
) -> None:
    device = new_device()
    begin = {path: path.read_bytes() for path in _files(device)}
    status, once = run_until(device, None)
    assert status == 0
    places = 0
    while True:
        for path in _files(device):
            path.unlink()
        for path, content in begin.items():
            path.write_bytes(content)
        places += 1
        status, _ = run_until(device, places)
        _whole(device, published)
        if status == 0:
            break
        assert status == CUT
        status, fetched = run_until(device, None)
        assert status == 0
        assert fetched <= once
        assert device.holds("B", published.images[2])
        assert device.boot_state().next == "B"
    assert places > 20


@pytest.mark.parametrize("step", ["mark target bad", "record", "activate"])
def test_the_slot_that_is_written_cannot_boot_before_it_is_whole(
    device: Device, published: Published, step: str
) -> None:
    """Where the second update fills a slot that was good."""
    device.must("update")
    device.boot()
    device.must("health", running="B")
    assert device.boot_state().slot("A").state is SlotState.GOOD
    process = os.fork()
    if process == 0:
        try:
            _cut_at_step(device, published.releases[3], step)
        finally:
            os._exit(70)
    _, status = os.waitpid(process, 0)
    assert os.waitstatus_to_exitcode(status) == CUT
    state = device.boot_state()
    assert state.next == "B"
    whole = device.holds("A", published.images[1])
    assert (state.slot("A").state is SlotState.GOOD) == whole


def _cut_at_step(device: Device, release: Path, step: str) -> None:
    from updater.agent.events import StepBegan

    def sink(event: AgentEvent) -> None:
        if isinstance(event, StepBegan) and event.step.value == step:
            os._exit(CUT)

    with open_machine(load_config(device.config), "update", sink, running="B") as machine:
        target = machine.target()
        location = channel_of(machine, str(release))
        candidate = find_candidate(machine, target, location, remote_fetch(machine, location))
        update(machine, target, candidate, by_hand=True)


def _files(device: Device) -> list[Path]:
    return [path for path in device.folder.rglob("*") if path.is_file()]

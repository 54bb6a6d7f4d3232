# SPDX-License-Identifier: Apache-2.0
"""What befalls the process: a signal, the end of memory, a clock that jumps, at several moments."""

from __future__ import annotations

import signal
from dataclasses import replace

import pytest

from tests.capabilities import require_tool
from tests.updater.device import MIB
from tests.updater.faults.machine import Fault
from tests.updater.faults.rig import TARGET, Rig
from tests.updater.running import COMMAND

DAY_S = 24 * 3600

MOMENTS: dict[str, Fault] = {
    "the state is read": Fault("read", "state-0.json", times=1),
    "the target is looked through": Fault("read", "disk.img", times=1).within(
        TARGET + 4 * MIB, TARGET + 4 * MIB + 1
    ),
    "the slot is marked bad": Fault("write", "device/env", times=1),
    "the state says that it is written": Fault("write", "/state/.#", times=1),
    "the target is written": Fault("write", "disk.img", times=1, skip=2),
    "the target is flushed": Fault("flush", "disk.img", times=1),
    "the index is kept": Fault("create", "/state/.#index", times=1),
    "the slot is activated": Fault("write", "device/env", times=1, skip=1),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_sigterm_ends_the_run_in_order_and_the_next_one_finishes(rig: Rig, moment: str) -> None:
    done = rig.update(replace(MOMENTS[moment], kind="signal", value=signal.SIGTERM))
    assert (done.status, done.last["code"]) == (75, "image.interrupted"), done.err
    rig.sound()
    rig.finish()


@pytest.mark.parametrize(
    "moment",
    ["the state is read", "the target is looked through", "the target is written"],
)
def test_without_memory_the_run_ends_in_order_and_the_next_one_finishes(
    rig: Rig, moment: str
) -> None:
    done = rig.update(replace(MOMENTS[moment], kind="memory"))
    assert (done.status, done.last["code"]) == (75, "image.retry-later"), done.err
    assert "memory" in done.last["message"]
    rig.sound()
    rig.finish()


@pytest.mark.parametrize("days", [-3650, 30])
@pytest.mark.parametrize("moment", ["the target is looked through", "the target is written"])
def test_a_clock_that_jumps_changes_nothing(rig: Rig, moment: str, days: int) -> None:
    done = rig.update(replace(MOMENTS[moment], kind="clock", value=days * DAY_S))
    assert done.status == 0, done.err
    assert rig.holds(3)
    rig.sound()
    rig.finish()  # by a clock that is right again


def test_with_less_and_less_address_space_the_device_stays_sound(rig: Rig) -> None:
    """RLIMIT_AS of the kernel: something fails wherever the limit is met."""
    require_tool("prlimit")
    statuses: list[int] = []
    limit = 24 * MIB
    while not statuses or statuses[-1] != 0:
        assert limit < 2048 * MIB, statuses
        rig.restore()
        done = rig.update(command=("prlimit", f"--as={limit}", *COMMAND))
        statuses.append(done.status)
        rig.sound()
        limit = limit * 3 // 2
    assert len(statuses) > 1
    rig.finish()

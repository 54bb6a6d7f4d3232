# SPDX-License-Identifier: Apache-2.0
"""Settings of all tests, and what is told at the end of a run."""

from __future__ import annotations

import time

import pytest
from hypothesis import settings

from tests.vm.hangs import hangs_since
from tests.vm.places import PLACES

_BEGIN = time.time()

# No test asserts a time: how long one example takes says how busy the machine is.
settings.register_profile("caflip", deadline=None)
settings.load_profile("caflip")


@pytest.hookimpl(trylast=True)  # after the shuffle
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Let guests come first, spread over as many workers as may have one: they take minutes.

    Each worker begins with an equal run of this list, in its order, and takes from the ends of the
    others' when it is through.
    """
    workers = getattr(config, "workerinput", {}).get("workercount", 1)
    guests = [item for item in items if item.get_closest_marker("vm")]
    rest = [item for item in items if not item.get_closest_marker("vm")]
    busy = min(workers, PLACES)
    length = len(items) // workers
    items[:] = []
    for number in range(workers):
        mine = guests[number::busy] if number < busy else []
        room = max(0, length - len(mine)) if number + 1 < workers else len(rest)
        items += [*mine, *rest[:room]]
        del rest[:room]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the machines that started without a word and were started again."""
    for log in hangs_since(_BEGIN):
        terminalreporter.write_line(f"silent machine, started again: {log}", yellow=True)

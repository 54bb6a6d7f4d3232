# SPDX-License-Identifier: Apache-2.0
"""Settings of all tests, and what is told at the end of a run."""

from __future__ import annotations

import time

import pytest
from hypothesis import settings

from tests.vm.hangs import hangs_since

_BEGIN = time.time()

# No test asserts a time: how long one example takes says how busy the machine is.
settings.register_profile("caflip", deadline=None)
settings.load_profile("caflip")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the machines that started without a word and were started again."""
    for log in hangs_since(_BEGIN):
        terminalreporter.write_line(f"silent machine, started again: {log}", yellow=True)

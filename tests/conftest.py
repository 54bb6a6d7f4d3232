# SPDX-License-Identifier: Apache-2.0
"""What is told at the end of a run."""

from __future__ import annotations

import time

import pytest

from tests.vm.hangs import hangs_since

_BEGIN = time.time()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the machines that started without a word and were started again."""
    for log in hangs_since(_BEGIN):
        terminalreporter.write_line(f"silent machine, started again: {log}", yellow=True)

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
from pathlib import Path

import pytest

from images.events import Phase, Progress
from tests.updater.conftest import Published
from tests.updater.running import COMMAND, DEADLINE_S, Caflip, environment
from updater.bar import Rate, Throttle, render


def test_a_line_says_phase_share_bytes_rate_and_time_left() -> None:
    line = render(Progress(Phase.ASSEMBLE, 48 << 20, 100 << 20), float(4 << 20), 100)
    assert line == ("assemble      [#######---------]   48%  48.0M/100.0M  4.0M/s  ETA 0:13")


def test_without_a_total_there_is_no_share() -> None:
    assert render(Progress(Phase.MAKE, 5 << 20, None), 1024.0, 100).split() == [
        "make",
        "5.0M",
        "1.0K/s",
    ]


@pytest.mark.parametrize("width", [0, 1, 20, 40, 60, 79])
def test_a_line_never_wraps(width: int) -> None:
    line = render(Progress(Phase.CHECK_TARGET, 1 << 40, 1 << 41), 1e9, width)
    assert len(line) <= width


def test_a_narrow_terminal_loses_the_bar_first() -> None:
    line = render(Progress(Phase.ASSEMBLE, 1, 2), None, 40)
    assert "[" not in line
    assert "50%" in line


def test_the_throttle_lets_first_last_and_ten_a_second_through() -> None:
    throttle = Throttle()
    events = [(Progress(Phase.MAKE, done, 1000), done / 1000) for done in range(1001)]
    passed = [event.done for event, now_s in events if throttle.passes(event, now_s)]
    assert passed[0] == 0
    assert passed[-1] == 1000
    assert 10 <= len(passed) <= 12
    assert throttle.passes(Progress(Phase.VERIFY, 0, 1000), 1.0)


def test_the_rate_is_that_of_the_last_seconds() -> None:
    rate = Rate()
    for second in range(20):
        measured = rate.update(Progress(Phase.MAKE, second * 1000, None), float(second))
    assert measured == 1000.0
    for second in range(20, 40):
        measured = rate.update(Progress(Phase.MAKE, 19_000 + second * 10, None), float(second))
    assert measured == 10.0


def test_a_new_phase_starts_with_no_rate() -> None:
    rate = Rate()
    rate.update(Progress(Phase.MAKE, 0, None), 0.0)
    assert rate.update(Progress(Phase.MAKE, 10, None), 1.0) == 10.0
    assert rate.update(Progress(Phase.VERIFY, 0, None), 2.0) is None


def run_on_terminal(*arguments: str | Path, columns: int, more: dict[str, str]) -> str:
    """Return what a terminal of that width gets from standard error."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(
        [*COMMAND, *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=slave,
        env=environment({"TERM": "xterm"} | more),
    )
    os.close(slave)
    pieces = []
    while True:
        try:
            piece = os.read(master, 65536)
        except OSError:  # EIO: the other side is closed
            break
        pieces.append(piece)
    os.close(master)
    assert process.wait(DEADLINE_S) == 0
    return b"".join(pieces).decode()


def test_a_terminal_sees_a_bar_and_then_one_line(tmp_path: Path, published: Published) -> None:
    seen = run_on_terminal("extract", published.index, tmp_path / "out", columns=90, more={})
    drawn = re.findall(r"\r([^\r\x1b]*)\x1b\[K", seen)
    assert {"assemble", "flush", "verify"} <= {line.split("  ")[0] for line in drawn if line}
    assert all(len(line) < 90 for line in drawn)
    rest = re.sub(r"\r[^\r\x1b]*\x1b\[K", "", seen)
    assert re.fullmatch(r"\S+: 2.2M verified; 0B were in place, .* written, in .*\r\n", rest)


def test_a_dumb_terminal_sees_no_control_characters(tmp_path: Path, published: Published) -> None:
    target = tmp_path / "out"
    seen = run_on_terminal("extract", published.index, target, columns=90, more={"TERM": "dumb"})
    assert "\x1b" not in seen


def test_a_pipe_sees_nothing_of_progress(
    tmp_path: Path, published: Published, caflip: Caflip
) -> None:
    done = caflip("extract", published.index, tmp_path / "out")
    assert (done.status, done.out, done.err) == (0, b"", "")

# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from tests.updater.running import ROOT
from updater.releases.clock import NOT_BEFORE, SystemClock, build_time, read_clock

DAY = timedelta(days=1)
moments = st.datetimes(datetime(1970, 1, 2), datetime(2100, 1, 1), timezones=st.just(UTC))


class Stopped:
    """A clock that stands."""

    def __init__(self, moment: datetime) -> None:
        self.moment = moment

    def now(self) -> datetime:
        return self.moment


@given(moments, moments, st.none() | moments, st.none() | moments)
def test_the_lower_bound_is_the_latest_that_is_known(
    system: datetime, built: datetime, signed: datetime | None, written: datetime | None
) -> None:
    reading = read_clock(Stopped(system), last_signed=signed, state_written=written, built=built)
    known = [moment for moment in (built, signed, written) if moment is not None]
    assert reading.lower_bound == max(known)
    assert reading.plausible == (system >= max(known))
    assert reading.now == max(system, *known)


def test_the_reason_is_where_the_bound_is_from() -> None:
    clock, built = Stopped(NOT_BEFORE), NOT_BEFORE
    assert "program was made" in read_clock(clock, built=built).reason
    assert "good release" in read_clock(clock, built=built, last_signed=built + DAY).reason
    assert "state" in read_clock(clock, built=built, state_written=built + DAY).reason


def test_this_machine_knows_the_time() -> None:
    before = datetime.now(UTC)
    assert before <= SystemClock().now() <= datetime.now(UTC)
    assert build_time() >= NOT_BEFORE


def test_the_program_was_made_with_its_newest_file_unless_that_is_nonsense(tmp_path: Path) -> None:
    """In a copy of the package whose files are dated by hand, in another process."""
    clock = ROOT / "updater" / "releases" / "clock.py"
    package = tmp_path / "updater"
    (package / "releases").mkdir(parents=True)
    for folder in (package, package / "releases"):
        (folder / "__init__.py").write_text("")
    (package / "releases" / "clock.py").write_text(clock.read_text())

    def made(moment: datetime) -> str:
        for path in package.rglob("*.py"):
            os.utime(path, (0, 0))
        os.utime(package / "__init__.py", (moment.timestamp(),) * 2)
        program = "from updater.releases.clock import build_time; print(build_time().isoformat())"
        done = subprocess.run(
            [sys.executable, "-c", program],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.strip()

    newer = NOT_BEFORE + 100 * DAY
    assert made(newer) == newer.isoformat()
    assert made(datetime(1980, 1, 1, tzinfo=UTC)) == NOT_BEFORE.isoformat()
    assert made(datetime(2090, 1, 1, tzinfo=UTC)) == NOT_BEFORE.isoformat()

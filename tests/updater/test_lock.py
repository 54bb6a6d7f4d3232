# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from images.errors import NotAccessible
from tests.updater.running import DEADLINE_S, environment
from updater.errors import Locked
from updater.lock import Lock, read_owner
from updater.system import System

HOLD = """
import sys
from pathlib import Path
from updater.lock import Lock
with Lock(Path(sys.argv[1]), "update"):
    print("held", flush=True)
    sys.stdin.read()
"""


def holder(folder: Path) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=environment(),
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"held\n"
    return process


def test_the_second_is_told_who_holds_it(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        with pytest.raises(Locked) as caught, Lock(tmp_path, "status"):
            pass
        assert f"`caflip update` (process {process.pid}, since 20" in str(caught.value)
        owner = read_owner(tmp_path / "lock")
        assert owner is not None
        assert (owner.pid, owner.verb) == (process.pid, "update")
        process.communicate(timeout=DEADLINE_S)
    with Lock(tmp_path, "status"):
        pass


def test_a_holder_that_is_killed_leaves_nothing_behind(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=DEADLINE_S)
        assert process.stdin is not None
    assert (tmp_path / "lock").read_bytes() != b""
    assert read_owner(tmp_path / "lock") is None
    with Lock(tmp_path, "update"):
        owner = read_owner(tmp_path / "lock")
        assert owner is not None
        assert owner.pid == os.getpid()


def test_within_one_process_it_is_one_at_a_time_too(tmp_path: Path) -> None:
    with Lock(tmp_path / "new/folder", "one") as lock:
        with pytest.raises(Locked, match="`caflip one`"), Lock(tmp_path / "new/folder", "two"):
            pass
        assert lock.path == tmp_path / "new/folder/lock"
        with Lock(tmp_path / "other", "two"):
            pass


def test_the_lock_ends_with_an_error_too(tmp_path: Path) -> None:
    with pytest.raises(KeyError), Lock(tmp_path, "one"):
        raise KeyError
    with Lock(tmp_path, "two"):
        pass
    assert (tmp_path / "lock").read_bytes() == b""


def test_a_program_that_is_called_does_not_keep_it(tmp_path: Path) -> None:
    with Lock(tmp_path, "one"):
        child = subprocess.Popen(["sleep", "60"], close_fds=False)
    try:
        with Lock(tmp_path, "two"):
            pass
    finally:
        child.kill()
        child.wait(timeout=DEADLINE_S)


FORK = """
import os, sys
from pathlib import Path
from updater.errors import Locked
from updater.lock import Lock

folder = Path(sys.argv[1])
reading, writing = os.pipe()
with Lock(folder, "one"):
    child = os.fork()
    if child == 0:
        os.close(writing)
        os.read(reading, 1)
        os._exit(0)
    try:
        with Lock(folder, "two"):
            print("taken")
    except Locked:
        print("held")
with Lock(folder, "two"):
    print("free")
os.close(writing)
os.waitpid(child, 0)
"""


def test_a_child_that_was_forked_does_not_keep_it(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORK, tmp_path],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=DEADLINE_S,
    )
    assert done.stdout == "held\nfree\n", done.stderr


def test_somebody_may_wait_for_its_turn(tmp_path: Path) -> None:
    import threading

    first = Lock(tmp_path, "one")
    first.__enter__()
    timer = threading.Timer(0.2, first.__exit__, (None, None, None))
    timer.start()
    with Lock(tmp_path, "two", wait_s=DEADLINE_S):
        pass
    timer.join()


@pytest.mark.parametrize(
    "text",
    [
        *("", "x", "[]", "{}", '{"pid": 1}', "null", '{"pid": "x", "verb": "v", "boot_id": "b", '),
        *(b"\xff\xfe".decode("latin1"), "[" * 100_000),
    ],
)
def test_a_text_that_makes_no_sense_is_nobody(text: str, tmp_path: Path) -> None:
    (tmp_path / "lock").write_text(text)
    assert read_owner(tmp_path / "lock") is None


def test_a_text_of_an_earlier_boot_is_nobody(tmp_path: Path) -> None:
    with Lock(tmp_path, "one"):
        text = json.loads((tmp_path / "lock").read_text())
        for key, value in (("boot_id", "another"), ("start_ticks", 1), ("pid", 1 << 30)):
            (tmp_path / "text").write_text(json.dumps({**text, key: value}))
            assert read_owner(tmp_path / "text") is None, key
        (tmp_path / "text").write_text(json.dumps(text))
        assert read_owner(tmp_path / "text") is not None
        assert read_owner(tmp_path / "text", System(tmp_path)) is None


def test_a_holder_that_cannot_be_told_is_still_a_holder(tmp_path: Path) -> None:
    with Lock(tmp_path, "one"):
        (tmp_path / "lock").write_text("nonsense")
        with pytest.raises(Locked, match=f"another caflip holds {tmp_path}/lock"):
            Lock(tmp_path, "two").__enter__()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(NotAccessible, match="file/lock"):
        Lock(tmp_path / "file", "one").__enter__()

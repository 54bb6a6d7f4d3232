# SPDX-License-Identifier: Apache-2.0
"""Real programs that behave badly. Waiting is for events; deadlines only keep a failure short."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.updater.running import DEADLINE_S, environment
from tests.waiting import wait_until
from updater import processes
from updater.processes import OUTPUT_LIMIT, Finished, run
from updater.signals import Interruption

LONG_S = "600"


def sh(text: str, *, timeout_s: float = DEADLINE_S, **more: object) -> Finished:
    return run(("/bin/sh", "-c", text), timeout_s=timeout_s, **more)  # type: ignore[arg-type]


def python(text: str, *, timeout_s: float = DEADLINE_S, **more: object) -> Finished:
    return run((sys.executable, "-c", text), timeout_s=timeout_s, **more)  # type: ignore[arg-type]


def is_gone(pid: int) -> bool:
    """Tell whether a process is no more, or only waits to be waited for by its new parent."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """See that no descriptor and no child, dead or alive, outlives a call."""
    before = set(os.listdir("/proc/self/fd"))
    children_before = _children()
    yield
    assert set(os.listdir("/proc/self/fd")) == before
    assert _children() == children_before


def _children() -> set[str]:
    threads = Path("/proc/self/task").glob("*/children")
    return {pid for path in threads for pid in _read_if_there(path).split()}


def _read_if_there(path: Path) -> str:
    try:
        return path.read_text()
    except (FileNotFoundError, ProcessLookupError):  # a thread that has just ended
        return ""


def test_output_and_errors_come_together_in_order() -> None:
    ended = sh("echo one; echo two >&2; echo three")
    assert (ended.status, ended.output, ended.dropped) == (0, "one\ntwo\nthree\n", 0)
    assert ended.ok
    assert not ended.timed_out


def test_a_status_is_told_with_the_last_line() -> None:
    ended = sh("echo first; echo no space left >&2; exit 7")
    assert (ended.status, ended.reason) == (7, "ended with status 7: no space left")
    assert not ended.ok


@pytest.mark.parametrize(
    ("number", "name"), [(signal.SIGSEGV, "SIGSEGV"), (signal.SIGRTMIN + 3, "signal 37")]
)
def test_a_signal_that_ended_it_is_named(number: int, name: str) -> None:
    ended = sh(f"ulimit -c 0; kill -{int(number)} $$")
    assert (ended.status, ended.reason) == (-number, f"ended by {name}")


@pytest.mark.parametrize(
    ("mode", "status", "reason"),
    [
        (None, 127, "cannot be started: No such file or directory"),
        (0o644, 126, "cannot be started: Permission denied"),
    ],
)
def test_what_cannot_be_started_says_why(
    tmp_path: Path, mode: int | None, status: int, reason: str
) -> None:
    program = tmp_path / "program"
    if mode is not None:
        program.write_text("#!/bin/sh\n")
        program.chmod(mode)
    ended = run((str(program),), timeout_s=DEADLINE_S)
    assert (ended.status, ended.reason, ended.ok) == (status, reason, False)
    assert str(program) in ended.output


def test_what_is_no_program_cannot_be_started(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_bytes(b"\x7fELF, but not really")
    program.chmod(0o755)
    ended = run((str(program),), timeout_s=DEADLINE_S)
    assert (ended.status, ended.reason) == (126, "cannot be started: Exec format error")


@pytest.mark.parametrize(
    "more",
    [
        {"command": ("/bin/true", "a\0b")},
        {"environment": {"X": "a\0b"}},
        {"environment": {"=": ""}},
    ],
)
def test_what_no_program_can_be_told_is_no_crash(more: dict[str, object]) -> None:
    ended = run(**({"command": ("/bin/true",), "timeout_s": DEADLINE_S} | more))  # type: ignore[arg-type]
    assert (ended.status, ended.ok) == (126, False)


def test_too_long_an_environment_is_no_crash() -> None:
    ended = run(("/bin/true",), timeout_s=DEADLINE_S, environment={"X": "x" * (1 << 20)})
    assert (ended.status, ended.reason) == (126, "cannot be started: Argument list too long")


def test_nothing_can_be_read_from_standard_input() -> None:
    assert sh("cat; readlink /proc/self/fd/0").output == "/dev/null\n"


def test_input_is_given_whole_even_where_it_is_not_read() -> None:
    data = bytes(range(256)) * 4096
    assert sh("wc -c", input=data).output.strip() == str(len(data))
    assert sh("true", input=data).ok


def test_only_the_three_descriptors_are_handed_down() -> None:
    with open("/dev/null") as file:
        os.set_inheritable(file.fileno(), True)
        ended = sh("ls /proc/self/fd")
    # The fourth is the folder that ls reads.
    assert ended.output.split() == ["0", "1", "2", "3"]


def test_the_environment_is_ours_and_more_without_what_systemd_gave_us(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OURS", "kept")
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/systemd/notify")
    monkeypatch.setenv("WATCHDOG_USEC", "1")
    told = sh("env", environment={"THEIRS": "a = b"}).output.splitlines()
    assert "OURS=kept" in told
    assert "THEIRS=a = b" in told
    assert not [line for line in told if line.startswith(("NOTIFY_", "WATCHDOG_"))]


def test_of_much_output_the_end_is_kept_and_the_rest_counted() -> None:
    length = 100 << 20
    ended = sh(f"head -c {length} /dev/zero | tr '\\0' x; echo the end")
    assert ended.ok
    assert ended.output.endswith("xxx\nthe end\n") or ended.output.endswith("xthe end\n")
    assert len(ended.output) == OUTPUT_LIMIT
    assert ended.dropped == length + len("the end\n") - OUTPUT_LIMIT


def test_much_output_takes_little_memory() -> None:
    program = (
        "import resource\n"
        "from updater.processes import run\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "run(('head', '-c', str(100 << 20), '/dev/zero'), timeout_s=60)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment(), capture_output=True, check=True
    )
    assert int(done.stdout) < 8 << 10  # KiB


def test_output_that_is_no_text_is_shown_as_far_as_it_can_be() -> None:
    assert sh("printf 'a\\377b'").output == "a\ufffdb"


def test_one_that_hangs_is_asked_to_end_at_the_deadline() -> None:
    ended = sh(
        f"trap 'echo cleaned up; exit 3' TERM; sleep {LONG_S} & echo begun; wait", timeout_s=0.5
    )
    assert ended.timed_out
    assert not ended.ok
    assert ended.output == "begun\ncleaned up\n"
    assert ended.reason.startswith("took longer than ")


def test_one_that_does_not_hear_sigterm_is_killed_with_its_children(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(processes, "GRACE_S", 0.2)
    ended = sh(
        f"trap '' TERM; sh -c 'trap \"\" TERM; echo $$; while :; do sleep {LONG_S}; done' & wait",
        timeout_s=0.5,
    )
    assert (ended.timed_out, ended.status) == (True, -signal.SIGKILL)
    child = int(ended.output)
    wait_until(lambda: is_gone(child))


def test_one_that_is_stopped_still_hears_sigterm() -> None:
    ended = sh("trap 'echo cleaned up; exit 0' TERM; kill -STOP $$; sleep 600", timeout_s=0.5)
    assert ended.output == "cleaned up\n"
    assert ended.timed_out


def test_success_after_the_deadline_is_none() -> None:
    ended = sh("trap 'exit 0' TERM; sleep 600 & wait", timeout_s=0.3)
    assert (ended.status, ended.timed_out, ended.ok) == (0, True, False)


def test_a_grandchild_that_holds_the_output_is_not_waited_for() -> None:
    ended = sh(f"sleep {LONG_S} & echo $!")
    assert ended.ok
    child = int(ended.output)
    wait_until(lambda: is_gone(child))


def test_many_grandchildren_that_write_without_end_are_not_waited_for() -> None:
    ended = sh("for i in 1 2 3 4 5 6 7 8; do yes y$i & done; sleep 0.2; echo done; exit 4")
    assert (ended.status, ended.timed_out) == (4, False)
    assert ended.seconds < DEADLINE_S / 2


def test_one_that_multiplies_is_ended_whole(tmp_path: Path) -> None:
    # Each starts the next and ends: no parent is there to be waited for.
    program = tmp_path / "multiply"
    program.write_text('#!/bin/sh\nsleep 0.01\n"$0" &\necho $! >> "$0.pids"\n')
    program.chmod(0o755)
    ended = sh(f"{program} & sleep 0.3")
    assert ended.ok
    pids = [int(line) for line in Path(f"{program}.pids").read_text().split()]
    assert len(pids) > 1
    wait_until(lambda: all(is_gone(pid) for pid in pids))
    told = Path(f"{program}.pids").read_text()
    time.sleep(0.1)  # would be enough for ten more
    assert Path(f"{program}.pids").read_text() == told


def test_one_that_leaves_the_group_is_let_go_and_not_waited_for(tmp_path: Path) -> None:
    # It has left once it opens the pipe, and the shell ends no sooner.
    pipe = tmp_path / "left"
    os.mkfifo(pipe)
    ended = sh(f"setsid sh -c ': >{pipe}; exec sleep {LONG_S}' & echo $!; read nothing <{pipe}; :")
    assert ended.ok
    daemon = int(ended.output)
    assert not is_gone(daemon)
    os.kill(daemon, signal.SIGKILL)


def test_one_that_closes_its_output_is_still_waited_for() -> None:
    ended = sh("exec >&- 2>&-; sleep 0.3; exit 5")
    assert ended.status == 5


def test_what_was_written_right_before_the_end_is_read() -> None:
    # As much as a pipe holds: nobody has read any of it when the program ends.
    for _ in range(20):
        ended = python("import os; os.write(1, b'x' * 60000)", output_limit=1 << 20)
        assert len(ended.output) == 60000


def test_waiting_is_told_of() -> None:
    beats: list[float] = []
    assert sh("sleep 1.3", alive=lambda: beats.append(time.monotonic())).ok
    assert len(beats) >= 2


def test_it_works_without_pidfd_as_on_old_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(pid: int, flags: int = 0) -> int:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(os, "pidfd_open", refuse)
    assert sh("echo a; exec >&- 2>&-; sleep 0.1; exit 6").status == 6
    assert sh("sleep 600", timeout_s=0.2).timed_out


def test_it_works_in_a_thread() -> None:
    found: list[Finished] = []
    thread = threading.Thread(target=lambda: found.append(sh("echo a; sleep 0.1")))
    thread.start()
    thread.join(DEADLINE_S)
    assert found[0].output == "a\n"


def test_one_that_cannot_be_killed_does_not_hang_us(monkeypatch: pytest.MonkeyPatch) -> None:
    # Played: without its signals, as a process looks that is stuck in the kernel.
    killed: list[int] = []
    monkeypatch.setattr(os, "killpg", lambda pid, number: killed.append(pid))
    monkeypatch.setattr(processes, "GRACE_S", 0.1)
    monkeypatch.setattr(processes, "KILLED_S", 0.1)
    ended = sh("exec sleep 600", timeout_s=0.1)
    assert not ended.ok
    assert "does not end" in ended.reason
    monkeypatch.undo()
    os.killpg(killed[0], signal.SIGKILL)
    os.waitpid(killed[0], 0)


CALLER = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # pytest may have been started without
from updater.processes import run
from updater.signals import Interruption
try:
    with Interruption():
        run(("/bin/sh", "-c", sys.argv[1]), timeout_s=600)
except KeyboardInterrupt:
    print("stopped in order")
"""


def _caller(tmp_path: Path, trap: str, then: str, text: str = CALLER) -> subprocess.Popen[bytes]:
    """Start a Python program that runs a shell, which tells its number in the file `begun`."""
    begun = tmp_path / "begun"
    command = f"{trap}; echo $$ > {begun}.new; mv {begun}.new {begun}; {then}"
    caller = subprocess.Popen(
        [sys.executable, "-c", text, command], env=environment(), stdout=subprocess.PIPE
    )
    wait_until(begun.exists)
    return caller


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_for_us_ends_the_program_first(tmp_path: Path, number: signal.Signals) -> None:
    trap = f"trap 'echo yes > {tmp_path}/cleaned; exit 0' TERM"
    caller = _caller(tmp_path, trap, "sleep 600 & wait")
    caller.send_signal(number)
    out, _ = caller.communicate(timeout=DEADLINE_S)
    assert (caller.returncode, out) == (0, b"stopped in order\n")
    assert (tmp_path / "cleaned").read_text() == "yes\n"
    assert is_gone(int((tmp_path / "begun").read_text()))


def test_a_second_signal_leaves_the_program_no_time(tmp_path: Path) -> None:
    text = CALLER.replace("\ntry:", "\nimport updater.processes as p; p.GRACE_S = 300\ntry:")
    trap = f"trap 'echo > {tmp_path}/heard' TERM"
    caller = _caller(tmp_path, trap, "while :; do sleep 600 & wait; done", text)
    caller.send_signal(signal.SIGTERM)
    wait_until(lambda: (tmp_path / "heard").exists())
    caller.send_signal(signal.SIGTERM)
    out, _ = caller.communicate(timeout=DEADLINE_S)
    assert (caller.returncode, out) == (0, b"stopped in order\n")
    assert is_gone(int((tmp_path / "begun").read_text()))


def test_without_a_handler_a_signal_ends_both(tmp_path: Path) -> None:
    text = CALLER.replace("with Interruption():", "if True:")
    caller = _caller(tmp_path, ":", "exec sleep 600", text)
    caller.send_signal(signal.SIGTERM)
    caller.communicate(timeout=DEADLINE_S)
    assert caller.returncode == -signal.SIGTERM
    assert is_gone(int((tmp_path / "begun").read_text()))


def test_signals_do_afterwards_what_they_did_before() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    sh("true")
    run(("/nonexistent",), timeout_s=1)
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


@pytest.mark.parametrize("count", [1, 2])
def test_signals_that_come_while_a_program_is_started_are_heard(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = processes._start
    started: list[int] = []

    def start_and_be_interrupted(*arguments: object) -> subprocess.Popen[bytes]:
        process = start(*arguments)  # type: ignore[arg-type]
        started.append(process.pid)
        for _ in range(count):
            signal.raise_signal(signal.SIGTERM)
        return process

    monkeypatch.setattr(processes, "_start", start_and_be_interrupted)
    beats: list[None] = []
    with pytest.raises(KeyboardInterrupt), Interruption():
        sh("exec sleep 600", timeout_s=30, alive=lambda: beats.append(None))
    assert is_gone(started[0])
    assert len(beats) < 10, "not at its deadline"


def test_at_no_moment_does_a_signal_leave_a_program_behind(tmp_path: Path) -> None:
    # At ever later moments of the start, the run and the end of a short program.
    mark = f"caflip-test-{os.getpid()}-{tmp_path.name}"
    text = (
        "import os, signal, sys\n"
        "from updater.processes import run\n"
        "from updater.signals import Interruption\n"
        "def sooner_or_later(delay_s):\n"
        "    try:\n"
        "        with Interruption():\n"
        "            signal.setitimer(signal.ITIMER_REAL, delay_s)\n"
        "            run(('/bin/sh', '-c', 'sleep 600; : ' + sys.argv[1]), timeout_s=600)\n"
        "    except KeyboardInterrupt:\n"
        "        pass\n"
        "signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGTERM))\n"
        "for step in range(1, 200):\n"
        "    sooner_or_later(step * 2e-4)\n"
        "    for task in os.listdir('/proc/self/task'):\n"
        "        assert not open(f'/proc/self/task/{task}/children').read(), step\n"
        "print('done')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", text, mark],
        env=environment(),
        capture_output=True,
        timeout=DEADLINE_S,
    )
    assert done.stdout == b"done\n", done.stderr.decode()
    left = subprocess.run(["pgrep", "-f", mark], capture_output=True)
    assert left.stdout == b""


def test_a_status_is_known_even_where_sigchld_was_ignored() -> None:
    text = (
        "from updater.processes import run\n"
        "import threading\n"
        "print(run(('/bin/false',), timeout_s=60).status)\n"
        "t = threading.Thread(target=lambda: print(run(('/bin/true',), timeout_s=60).ok))\n"
        "t.start(); t.join()\n"
    )
    # Ignored signals stay ignored in the program that takes our place.
    ignoring = (
        "import os, signal, sys\n"
        "signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
        "os.execv(sys.executable, [sys.executable, '-c', sys.argv[1]])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", ignoring, text], env=environment(), capture_output=True, timeout=60
    )
    # In a thread no handler can be set: what is not known is no success.
    assert done.stdout == b"1\nFalse\n", done.stderr.decode()

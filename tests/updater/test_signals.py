# SPDX-License-Identifier: Apache-2.0
"""A run that is ended by a signal, and goes on at the next one."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from images.index import Index
from tests.updater.conftest import Published
from tests.updater.running import COMMAND, DEADLINE_S, casync_named, environment, run_process
from tests.updater.slow_site import SlowSite, slow_site

ANSWERED = 8


def ids_in_place(index: Index, target: Path) -> set[str]:
    """Return the hex ids of chunks that stand where they should."""
    data = target.read_bytes() if target.exists() else b""
    return {
        chunk_id.hex()
        for start, end, chunk_id in index.chunks()
        if index.digest.of(data[start:end]) == chunk_id
    }


def asked_ids(site: SlowSite) -> Counter[str]:
    return Counter(Path(path).stem for path in site.asked if path.endswith(".cacnk"))


def wait_until_placed(index: Index, part: Path, count: int) -> None:
    """Wait until the other process has written that many chunks."""
    end_s = time.monotonic() + DEADLINE_S
    while len(ids_in_place(index, part)) < count:
        assert time.monotonic() < end_s, "nothing was placed"
        threading.Event().wait(0.02)


def start(*arguments: str | Path, command: tuple[str, ...] = COMMAND) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*command, *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
        # pytest may have been started with SIGINT ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler) and None,
    )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_run_goes_on_and_fetches_nothing_twice(
    number: signal.Signals, tmp_path: Path, published: Published
) -> None:
    index, target = Index.load(published.index), tmp_path / "out"
    part = tmp_path / ".out.caflip-part"
    zeros = index.digest.of_zeros(index.sizes.maximum).hex()
    with slow_site(published.folder, ANSWERED) as site:
        process = start("extract", f"{site.url}/image.caibx", target, "--json")
        wait_until_placed(index, part, ANSWERED + 1)  # and the zeros
        process.send_signal(number)
        out, err = process.communicate(timeout=DEADLINE_S)
        assert process.returncode == 75, err
        last = json.loads(out.splitlines()[-1])
        assert last["code"] == "image.interrupted"
        assert last["hint"].startswith("run the same command again")
        assert not target.exists()
        placed = ids_in_place(index, part)
        assert placed - {zeros} == set(asked_ids(site))
    with slow_site(published.folder, answers=1 << 30) as site:
        done = run_process("extract", f"{site.url}/image.caibx", target, "--json")
        assert done.status == 0, done.err
        second = asked_ids(site)
    assert target.read_bytes() == published.data
    assert not placed & set(second)
    assert set(second) | placed == {chunk_id.hex() for _, _, chunk_id in index.chunks()}
    assert set(second.values()) == {1}


def test_a_second_signal_ends_the_run_at_once() -> None:
    program = (
        "import signal, os\n"
        "from updater.signals import Interruption\n"
        # Whoever started the tests may ignore it, as shells do for background jobs.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "with Interruption() as interruption:\n"
        "    try:\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "        signal.pause()\n"
        "    except KeyboardInterrupt:\n"
        "        assert interruption.requested\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "        signal.pause()\n"
    )
    assert run_process(command=(COMMAND[0], "-c", program)).status == -signal.SIGINT


def test_a_swallowed_interrupt_is_raised_again_with_the_next_event() -> None:
    program = (
        "import signal, os\n"
        "from images.events import Phase, Progress\n"
        "from updater.console import Console\n"
        "from updater.signals import Interruption\n"
        "with Interruption() as interruption:\n"
        "    console = Console('extract', interruption=interruption)\n"
        "    console.event(Progress(Phase.MAKE, 0, None))\n"
        "    try:\n"
        "        os.kill(os.getpid(), signal.SIGTERM)\n"
        "    except KeyboardInterrupt:\n"
        "        pass  # as a C library does in a callback\n"
        "    try:\n"
        "        console.event(Progress(Phase.MAKE, 0, None))\n"
        "    except KeyboardInterrupt:\n"
        "        raise SystemExit(7)\n"
    )
    assert run_process(command=(COMMAND[0], "-c", program)).status == 7


def test_a_signal_that_was_ignored_before_stays_ignored() -> None:
    program = (
        "import signal, os\n"
        "from updater.signals import Interruption\n"
        "signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
        "with Interruption() as interruption:\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    assert not interruption.requested\n"
    )
    assert run_process(command=(COMMAND[0], "-c", program)).status == 0


def test_under_the_name_casync_the_words_and_the_status_are_casyncs(
    tmp_path: Path, published: Published
) -> None:
    index = Index.load(published.index)
    with slow_site(published.folder, ANSWERED) as site:
        process = start(
            "extract",
            f"{site.url}/image.caibx",
            tmp_path / "out",
            command=(str(casync_named(tmp_path)),),
        )
        wait_until_placed(index, tmp_path / ".out.caflip-part", ANSWERED)
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 1
    assert err.startswith(b"Got exit signal, quitting.\n")


def test_a_reader_that_goes_away_ends_the_run_quietly(published: Published) -> None:
    process = start("extract", published.index, "-")
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdout.read(10) == published.data[:10]
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()
    assert process.wait(DEADLINE_S) == 141
    assert err == b""


def test_a_closed_standard_output_is_quiet_for_text_too(published: Published) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [*COMMAND, "list-chunks", str(published.index)],
        stdout=writer,
        stderr=subprocess.PIPE,
        env=environment(),
        timeout=DEADLINE_S,
        check=False,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


def test_a_terminal_is_told_how_to_end_at_once(tmp_path: Path, published: Published) -> None:
    index = Index.load(published.index)
    master, slave = pty.openpty()
    with slow_site(published.folder, ANSWERED) as site:
        process = subprocess.Popen(
            [*COMMAND, "extract", f"{site.url}/image.caibx", str(tmp_path / "out")],
            stdin=subprocess.DEVNULL,
            stderr=slave,
            env=environment({"TERM": "xterm"}),
        )
        os.close(slave)
        wait_until_placed(index, tmp_path / ".out.caflip-part", ANSWERED)
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE_S) == 75
    seen = os.read(master, 1 << 16)
    os.close(master)
    assert b"once more to end at once" in seen
    assert b"stopped by a signal" in seen

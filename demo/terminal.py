# SPDX-License-Identifier: Apache-2.0
"""Commands as one would type them, with what they print and how they end."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.cases import caflip

ROOT = Path(__file__).resolve().parent.parent

_PLAIN = re.compile(r"[\w@%+=:,./?*-]+")


class Unexpected(Exception):
    """Something did not go as this demonstration says it does."""


def heading(text: str) -> None:
    """Say what comes next."""
    bold = sys.stdout.isatty()
    print(f"\n\033[1m== {text}\033[0m" if bold else f"\n== {text}", flush=True)


def say(text: str) -> None:
    """Print a remark."""
    print(text, flush=True)


def run(*command: str, status: int = 0) -> None:
    """Print a command, run it with its output shown.

    Raises:
        Unexpected: it ended with another status.
    """
    _show(command)
    # In one stream, so that a log has it in order; on a terminal both are the terminal.
    ended = subprocess.run(_real(command), env=environment(), stderr=subprocess.STDOUT)
    _expect(command, ended.returncode, status)
    if status:
        say(f"exit status {status}")


def last_line(*command: str, status: int = 0) -> str:
    """Print a command, run it, print the last line of its output and return it.

    Raises:
        Unexpected: it ended with another status.
    """
    _show([*command, "|", "tail", "-1"])
    ended = subprocess.run(_real(command), env=environment(), capture_output=True, text=True)
    _expect(command, ended.returncode, status, ended.stderr)
    line = ended.stdout.splitlines()[-1]
    say(line)
    if status:
        say(f"exit status {status}")
    return line


@contextmanager
def served(folder: str) -> Iterator[str]:
    """Serve a folder on a free port of the loopback interface; give its URL."""
    command = ("caflip", "serve", folder, "--listen=127.0.0.1:0")
    _show([*command, "&"])
    with subprocess.Popen(
        _real(command), stdout=subprocess.PIPE, text=True, env=environment()
    ) as server:
        try:
            assert server.stdout is not None
            url = server.stdout.readline().strip()
            say(url)
            if not url:
                raise Unexpected("the server does not start")
            yield url.rstrip("/")
        finally:
            server.terminate()


def environment() -> dict[str, str]:
    """The environment of the programs: system folders on the path, our tree importable."""
    path = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    ours = ("CAFLIP_", "CASYNC_")
    kept = {name: text for name, text in os.environ.items() if not name.startswith(ours)}
    return {**kept, "PATH": path, "PYTHONPATH": str(ROOT), "CAFLIP_CONFIG": "config.toml"}


def _real(command: Sequence[str]) -> list[str]:
    return [*caflip(), *command[1:]] if command[0] == "caflip" else list(command)


def _show(command: Sequence[str]) -> None:
    words = (w if _PLAIN.fullmatch(w) or w in "|&" else shlex.quote(w) for w in command)
    say("$ " + " ".join(words))


def _expect(command: Sequence[str], found: int, wanted: int, told: str = "") -> None:
    if found != wanted:
        what = " ".join(command[:2])
        raise Unexpected(f"{told}{what} ended with status {found}, and not with {wanted}")

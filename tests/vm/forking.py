# SPDX-License-Identifier: Apache-2.0
"""caflip in a guest, again and again: each run is a fork of a process that has the modules loaded.

An emulated processor needs seconds to import them, every time. What a run had to import is imported
here before the next one. Through pipes: words in, one a line; the exit status out.

This file runs in the guest, alone.
"""

from __future__ import annotations

import importlib
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from updater.cli import main

FOLDER = Path("/run/caflip")
ASK, ENDED = FOLDER / "ask", FOLDER / "ended"
OUT, ERR = FOLDER / "out", FOLDER / "err"
_MODULES = FOLDER / "modules"


def serve() -> NoReturn:
    """Run what is asked for, until the machine ends."""
    while True:
        words = ASK.read_text().splitlines()
        process = os.fork()
        if process == 0:
            sys.exit(_run(words))
        ended = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        for module in _MODULES.read_text().split():
            with suppress(ImportError):  # names that some modules give to others
                importlib.import_module(module)
        ENDED.write_text(str(ended))


def _run(words: list[str]) -> int:
    for path, descriptor in ((OUT, 1), (ERR, 2)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    status = main(words)
    _MODULES.write_text("\n".join(sys.modules))
    return status


if __name__ == "__main__":
    serve()

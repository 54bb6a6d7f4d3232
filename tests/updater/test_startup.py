# SPDX-License-Identifier: Apache-2.0
"""What is loaded when: nothing of others for `--version`, and for each verb only what it needs."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.updater.conftest import Published
from tests.updater.running import COMMAND, run_process

OURS = {"updater", "images", "fsprobe", "boot"}


def modules_of(*arguments: str | Path) -> set[str]:
    """Return the names of all modules that a run has loaded at its end."""
    program = (
        "import sys\n"
        "from updater.cli import main\n"
        "main(sys.argv[1:], 'caflip')\n"
        "print(*sys.modules, file=sys.stderr)\n"
    )
    done = run_process(*arguments, command=(COMMAND[0], "-c", program))
    assert done.status == 0, done.err
    return set(done.err.splitlines()[-1].split())


def foreign(modules: set[str]) -> set[str]:
    """Return the third-party packages among them, save those that this interpreter starts with."""
    bare = run_process(command=(COMMAND[0], "-c", "import sys; print(*sys.modules)"))
    roots = {name.split(".")[0] for name in modules - set(bare.text.split())}
    return roots - sys.stdlib_module_names - OURS - {"__main__"}


def test_version_loads_no_third_party_module_and_no_engine() -> None:
    modules = modules_of("--version")
    assert not foreign(modules)
    assert not {name for name in modules if name.startswith(("images", "fsprobe"))}
    assert "argparse" not in modules


def test_version_is_printed() -> None:
    assert run_process("--version").text == "caflip 0.1.0\n"


def test_help_loads_no_third_party_module() -> None:
    assert not foreign(modules_of("--help"))


@pytest.mark.parametrize("verb", ["probe", "stat", "list-chunks"])
def test_looking_at_a_file_needs_no_third_party_module(verb: str, published: Published) -> None:
    assert not foreign(modules_of(verb, published.index))


def test_local_work_needs_no_http_library(tmp_path: Path, published: Published) -> None:
    modules = modules_of("extract", published.index, tmp_path / "out")
    assert not {"requests", "urllib3", "pycurl", "http.client", "ssl"} & modules


@pytest.mark.parametrize("verb", ["health", "status", "mark-good", "mark-bad", "history"])
def test_what_runs_at_each_boot_needs_no_engine(verb: str) -> None:
    modules = modules_of(verb, "--help")
    assert f"updater.commands.{verb.replace('-', '_')}" in modules
    engine = {"target", "seeds", "survey", "planning", "assembly", "index", "stores.chain"}
    assert not {f"images.{name}" for name in engine} & modules
    assert "updater.releases.signatures" not in modules

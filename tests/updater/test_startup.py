# SPDX-License-Identifier: Apache-2.0
"""What is loaded when: nothing of others for `--version`, and for each verb only what it needs."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.updater.conftest import Published
from tests.updater.running import COMMAND, run_process

OURS = {"updater", "images", "fsprobe", "boot"}

ONLY_WHERE_USED = {
    *("boot", "updater.agent", "updater.json_lines", "updater.peers", "updater.releases"),
    *("images.fetch", "images.http_server", "images.stores.http", "images.stores.settings"),
    *("asyncio", "datetime", "email", "http", "json", "shutil", "ssl", "tomllib"),
    *("gnupg", "pycurl", "requests", "urllib3"),
}
"""What work on files and local stores does without, by module or package."""


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


def bare() -> set[str]:
    """Return what this interpreter starts with."""
    done = run_process(command=(COMMAND[0], "-c", "import sys; print(*sys.modules)"))
    return set(done.text.split())


def foreign(modules: set[str]) -> set[str]:
    """Return the third-party packages among them, save those that this interpreter starts with."""
    roots = {name.split(".")[0] for name in modules - bare()}
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


@pytest.mark.parametrize(
    ("verb", "without"),
    [
        ("extract", {"making", "storecheck", "stores.writing"}),
        ("info", {"assembly", "copying", "making", "storecheck", "stores.writing"}),
        ("make", {"extraction", "planning", "seeds", "stores.chain"}),
        ("verify", {"assembly", "chunkfile", "seeds", "stores.chain", "stores.local", "zstd"}),
    ],
)
def test_local_work_loads_what_it_needs(
    verb: str, without: set[str], tmp_path: Path, published: Published
) -> None:
    arguments = {
        "extract": (published.index, tmp_path / "out"),
        "info": (published.index,),
        "make": (tmp_path / "new.caibx", published.image),
        "verify": (published.index, published.image),
    }
    loaded = modules_of(verb, *arguments[verb]) - bare()
    assert not {f"images.{name}" for name in without} & loaded
    assert not ONLY_WHERE_USED & loaded


def test_json_is_loaded_by_those_who_ask_for_it(published: Published) -> None:
    assert "updater.json_lines" in modules_of("verify", "--json", published.index, published.image)


@pytest.mark.parametrize("verb", ["health", "status", "mark-good", "mark-bad", "history"])
def test_what_runs_at_each_boot_needs_no_engine(verb: str) -> None:
    modules = modules_of(verb, "--help")
    assert f"updater.commands.{verb.replace('-', '_')}" in modules
    engine = {"target", "seeds", "survey", "planning", "assembly", "index", "stores.chain"}
    assert not {f"images.{name}" for name in engine} & modules
    assert "updater.releases.signatures" not in modules

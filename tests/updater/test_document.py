# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from images.errors import ImageError
from tests.capabilities import require_tool
from tests.updater.running import COMMAND, run_process
from updater.commands import VERBS
from updater.document import DOCS, documents
from updater.pages import pages, shared_groups


@pytest.mark.parametrize("path", documents(), ids=lambda path: path.name)
def test_the_committed_document_is_up_to_date(path: Path) -> None:
    assert path.read_text() == documents()[path], "run `python -m updater.document`"


def test_check_compares_and_writes_nothing() -> None:
    assert run_process("--check", command=(COMMAND[0], "-m", "updater.document")).status == 0


def test_the_manual_page_renders_without_a_warning() -> None:
    require_tool("groff")
    done = subprocess.run(
        ["groff", "-man", "-ww", "-Tascii", "-P-cbou", DOCS / "caflip.1"],
        capture_output=True,
        check=True,
    )
    assert done.stderr == b""
    text = done.stdout.decode()
    assert all(f"caflip {verb.name}" in text for verb in VERBS)
    assert "EXAMPLES" in text


def test_every_verb_and_option_is_in_both_documents() -> None:
    commands, manual = (DOCS / "commands.md").read_text(), (DOCS / "caflip.1").read_text()
    for verb in VERBS:
        assert f"## {verb.name}\n" in commands
        assert f".SS caflip {verb.name}".replace("-", "\\-") in manual
    entries = [entry for page in pages() for entry in page.entries]
    entries += [entry for group in shared_groups().values() for entry in group]
    for entry in entries:
        assert entry.syntax.replace("|", "\\|") in commands
        assert entry.syntax.replace("-", "\\-") in manual
        assert entry.meaning


def test_every_error_code_is_documented_once() -> None:
    def all_of(kind: type[ImageError]) -> list[type[ImageError]]:
        return [kind, *(low for sub in kind.__subclasses__() for low in all_of(sub))]

    text = (DOCS / "errors.md").read_text()
    for kind in all_of(ImageError)[1:]:
        assert text.count(f"| `{kind.code}` | {kind.exit_status} |") == 1

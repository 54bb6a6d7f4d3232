# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from bench.workload import Workload


def test_each_make_begins_with_an_empty_folder_and_none_is_removed_meanwhile(
    tmp_path: Path,
) -> None:
    with subprocess.Popen([sys.executable, "-c", ""], text=True) as server:
        work = Workload(tmp_path, server, 0)
        work.empty_made()
        (work.made / "index.caibx").write_bytes(b"first")
        (tmp_path / "known").mkdir()
        (tmp_path / "known" / "chunk").write_bytes(b"x")
        work.empty_made(tmp_path / "known")
        assert [path.name for path in work.made.rglob("*")] == ["store", "chunk"]
    aside = list(tmp_path.glob("made-*/*"))
    assert [path.read_bytes() for path in aside] == [b"first"]

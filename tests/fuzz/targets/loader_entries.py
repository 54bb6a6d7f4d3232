# SPDX-License-Identifier: Apache-2.0
"""Any files among the entries of systemd-boot are passed over, told as flawed, or put in order.

Names and contents in turn, between bytes of 0xFF; a content that begins with MZ is that of a
unified kernel image.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from boot.loader_entries import NAME, in_order, read_entries, read_settings, select
from boot.version_order import compare_versions

LONGEST = 1024
MOST_FILES = 4


def fuzz(data: bytes) -> bool:
    boot = Path(tempfile.mkdtemp(dir="/dev/shm"))
    try:
        return _taken(boot, data.split(b"\xff")[: 2 * MOST_FILES])
    finally:
        shutil.rmtree(boot)


def _taken(boot: Path, parts: list[bytes]) -> bool:
    folders = boot / "loader/entries", boot / "EFI/Linux"
    for folder in folders:
        folder.mkdir(parents=True)
    (boot / "vmlinuz").touch()
    for raw, content in zip(parts[::2], parts[1::2], strict=False):
        name = raw.decode("utf-8", "surrogateescape").replace("/", "").replace("\0", "")
        if name not in ("", ".", "..") and len(raw) <= 200:
            (folders[content.startswith(b"MZ")] / name).write_bytes(content)
    entries = read_entries(boot)
    listed = [entry for entry in entries if entry.flaw is None]
    # On FAT no two names differ in case alone; those are all that nothing puts in order.
    assert [entry.id for entry in in_order(entries[::-1])] == [entry.id for entry in entries]
    assert select(entries, None) == (listed[0] if listed else None)
    for entry in entries:
        assert entry.left is None or 0 <= entry.left < 10**9
        match = NAME.fullmatch(entry.named(3))
        assert match is not None and match["stem"].lower() == entry.stem and match["left"] == "3"
        assert select(entries, entry.id.replace("[", "[[]")) is not None or entry.flaw
    for a in entries:
        for b in entries:
            assert compare_versions(a.id, b.id) == -compare_versions(b.id, a.id)
    read_settings(folders[0] / "loader.conf")
    return bool(listed)

# SPDX-License-Identifier: Apache-2.0
"""The slot on the kernel's command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from boot.command_line import parameters, slot_of
from boot.errors import BootloaderMissing


@pytest.mark.parametrize(
    ("text", "slot"),
    [
        ("root=/dev/x quiet caflip.slot=A\n", "A"),
        ("rauc.slot=B", "B"),
        ("rauc.slot=B caflip.slot=A", "A"),
        ("caflip.slot=A caflip.slot=B", "B"),
        ("caflip.slot=C rauc.slot=A", None),
        ("caflip.slot=", None),
        ("xcaflip.slot=A caflip.slotA", None),
        ("quiet -- caflip.slot=A", None),
        ("", None),
    ],
)
def test_the_slot_is_read_from_the_command_line(
    tmp_path: Path, text: str, slot: str | None
) -> None:
    (tmp_path / "cmdline").write_text(text)
    assert slot_of(tmp_path / "cmdline", ["A", "B"]) == slot


def test_bytes_that_are_no_text_do_no_harm(tmp_path: Path) -> None:
    (tmp_path / "cmdline").write_bytes(b"\xff\xfe=\x80 caflip.slot=A\n")
    assert slot_of(tmp_path / "cmdline", ["A"]) == "A"
    assert "caflip.slot" in parameters(tmp_path / "cmdline")


def test_a_missing_command_line_is_named(tmp_path: Path) -> None:
    with pytest.raises(BootloaderMissing, match="cmdline"):
        slot_of(tmp_path / "cmdline", ["A"])

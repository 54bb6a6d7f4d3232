# SPDX-License-Identifier: Apache-2.0
"""Any autoboot.txt is refused, or says the same after it was written by us."""

from __future__ import annotations

from boot.errors import EnvironmentInvalid
from boot.raspberrypi import SIZE_LIMIT, parse, render

LONGEST = SIZE_LIMIT
OURS = {"boot_partition", "tryboot_a_b", "caflip_trying", "caflip_boot", "caflip_bad"}


def fuzz(data: bytes) -> bool:
    try:
        found = parse(data)
    except EnvironmentInvalid:
        return False
    if found.all is None:  # such a file is refused one step later, before anything is written
        return False
    written = render(found)
    again = parse(written)
    assert (again.all, again.tryboot, again.trying) == (found.all, found.tryboot, found.trying)
    assert (again.bad, again.other) == (found.bad, found.other)
    assert again.boot == (found.boot if found.trying is not None else "")
    assert render(again) == written
    kept = written.decode("utf-8", "surrogateescape").splitlines()
    for line in data.decode("utf-8", "surrogateescape").splitlines():
        # What is nobody's setting of ours stays in the file, comments too.
        text = line.strip()
        if text and not text.startswith("[") and text.partition("=")[0].strip() not in OURS:
            assert text in kept
    return True

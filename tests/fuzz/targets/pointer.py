# SPDX-License-Identifier: Apache-2.0
"""Any `latest.json` is refused, or names a release below its own folder. Nobody has signed it."""

from __future__ import annotations

from images.locator import HttpUrl, LocalPath
from updater.errors import PointerMalformed
from updater.releases.channel import parse_pointer, pointer_bytes
from updater.releases.names import beside

LONGEST = 512


def fuzz(data: bytes) -> bool:
    try:
        release = parse_pointer(data, "latest.json")
    except PointerMalformed:
        return False
    assert parse_pointer(pointer_bytes(release), "latest.json") == release
    on_disk = beside(LocalPath("/channel/latest.json"), release)
    assert on_disk == LocalPath(f"/channel/{release}")
    on_web = beside(HttpUrl("https://example.org/stable/latest.json"), release)
    assert on_web == HttpUrl(f"https://example.org/stable/{release}")
    parts = release.split("/")
    assert not {"", ".", ".."} & set(parts) and not set(release) & set("\\?#:% \0\n")
    return True

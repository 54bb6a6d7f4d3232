# SPDX-License-Identifier: Apache-2.0
"""Names in a `.castr`: a file of any name is one chunk's file, with its folder, or a stray.

A text is read as the name of a chunk file, and as the place of an index that a store stands beside.
"""

from __future__ import annotations

from images.chunkfile import id_of_name, relative_path
from images.errors import SettingInvalid
from images.locator import (
    DEFAULT_STORE,
    HttpUrl,
    LocalPath,
    chunk_base,
    default_store,
    origin_of,
    parse_locator,
)

LONGEST = 256


def fuzz(data: bytes) -> bool:
    text = data.decode("utf-8", "surrogateescape")
    return any([_is_a_chunk(text), _is_a_place(text)])


def _is_a_chunk(text: str) -> bool:
    found = id_of_name(text)
    if found is None:
        return False
    chunk_id, suffix = found
    assert relative_path(chunk_id, suffix) == f"{text[:4]}/{text}"
    assert id_of_name(relative_path(chunk_id, suffix)[5:]) == found
    return True


def _is_a_place(text: str) -> bool:
    try:
        place = parse_locator(text)
    except SettingInvalid:
        return False
    store = default_store(place)
    assert type(store) is type(place)
    assert store.name.rpartition("/")[2] == DEFAULT_STORE
    if isinstance(place, LocalPath):
        assert isinstance(store, LocalPath)
        return True
    assert isinstance(store, HttpUrl)
    # Credentials go where they were meant to go, and are not shown.
    scheme, host, port = origin_of(place.url)
    if ";" not in host:  # casync ends a host there; no name of a host has one
        assert origin_of(store.url) == (scheme, host, port)
    assert store.authorization == place.authorization
    assert parse_locator(place.url) == HttpUrl(place.url)
    assert chunk_base(store.url) == store.name == store.url
    return True

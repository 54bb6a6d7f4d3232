# SPDX-License-Identifier: Apache-2.0
"""What a neighbour says of itself is refused, or what a peer may be called: it is shown to people
and asked about in URLs.

A byte: an answer to `/peer` follows, or, where the lowest bit is set, strings of a TXT record with
zeros between them.
"""

from __future__ import annotations

import re

from images.errors import ImageError
from updater.peers.client import parse_about
from updater.peers.discovery import MOST_TAGS, about_of
from updater.peers.service import About
from updater.peers.site import Site

LONGEST = 1024
SITE = Site("here", None)
IDENTITY = "0123456789abcdef"
_TAG = re.compile(r"[0-9a-f]{16}")


def fuzz(data: bytes) -> bool:
    announced = bool(data[:1] and data[0] & 1)
    about = _announced(data[1:]) if announced else _answered(data[1:])
    if about is None:
        return False
    assert re.fullmatch(r"[0-9a-f]{16,32}", about.identity)
    assert about.updating is None or _TAG.fullmatch(about.updating)
    assert all(map(_TAG.fullmatch, about.holds))
    assert not announced or len(about.holds) <= MOST_TAGS
    return True


def _answered(body: bytes) -> About | None:
    try:
        return parse_about("10.0.0.1:80", body)
    except ImageError:
        return None


def _announced(record: bytes) -> About | None:
    strings = (text.partition(b"=") for text in record.split(b"\0"))
    # As python-zeroconf has them: a key without `=` has no value.
    return about_of(IDENTITY, {key: value if mid else None for key, mid, value in strings}, SITE)

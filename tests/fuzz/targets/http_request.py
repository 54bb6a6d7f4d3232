# SPDX-License-Identifier: Apache-2.0
"""Any head is refused, or a request that means the same when it is written plainly.

A request head, or behind an empty line the field `Range` and a length of two bytes.
"""

from __future__ import annotations

from images.http_message import MOST_HEAD, Asked, Malformed, answer_head, parse_request, wanted_part

LONGEST = 1024


def fuzz(data: bytes) -> bool:
    head, _, rest = data.partition(b"\r\n\r\n")
    _check_part(rest[2:], int.from_bytes(rest[:2], "little"))
    try:
        asked = parse_request(head)
    except Malformed:
        return False
    assert len(head) <= MOST_HEAD
    assert asked.path.startswith("/") and asked.path.isascii() and asked.path.isprintable()
    assert asked.query.isascii() and asked.query.isprintable()
    assert not set(asked.path + asked.query) & {" ", "\r", "\n"}
    assert "?" not in asked.path
    _check_part(asked.range, len(head))
    assert _meaning(parse_request(_plain(asked))) == _meaning(asked)
    return True


def _check_part(field: bytes | None, length: int) -> None:
    part = wanted_part(field, length)
    if part is None:
        assert field is not None and field.startswith(b"bytes=")
        return
    start, end = part
    assert 0 <= start <= end <= length
    assert start < end or length == 0
    answer_head(206, end - start, True, f"Content-Range: bytes {start}-{end - 1}/{length}\r\n")


def _plain(asked: Asked) -> bytes:
    """Write a request without anything that may be left out."""
    target = asked.path + (f"?{asked.query}" if asked.query else "")
    lines = [asked.method + b" " + target.encode() + b" HTTP/1.1"]
    lines.append(b"host: x")
    if asked.range is not None:
        lines.append(b"range: " + asked.range)
    if not asked.keep:
        lines.append(b"connection: close")
    return b"\r\n".join(lines)


def _meaning(asked: Asked) -> tuple[object, ...]:
    return asked.method, asked.path, asked.query, asked.keep, asked.range
